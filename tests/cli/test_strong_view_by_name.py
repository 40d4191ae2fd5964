"""What a strong view does, chosen on the command line and in recipes by short name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noisylab.cli import main
from noisylab.cli.configuration.compose import compose
from noisylab.cli.describe import describe
from noisylab.cli.errors import UserError
from noisylab.cli.running.app import _construct
from noisylab.transforms import Chain, Cutout, RandAugment

_RECIPE = """
model:
  class_path: ACT
  init_args: {network: {class_path: MLP, init_args: {in_features: 64}}}
data:
  class_path: Digits
  init_args:
    strong:
      class_path: Chain
      init_args:
        views:
          - {class_path: RandAugment, init_args: {m: 3}}
          - {class_path: Cutout, init_args: {size: 2, fill: 127}}
"""
_HOME = "noisylab.transforms"


def strong(*flags: tuple[str, str]) -> Any:
    return compose(["act_digits.yaml"], list(flags)).config["data"]["init_args"]["strong"]


def test_flags_name_the_view_and_its_arguments() -> None:
    found = strong(("data.strong", "RandAugment"), ("data.strong.n", "3"), ("data.strong.convention", "ildoonet"))
    assert found["class_path"] == f"{_HOME}.randaugment.RandAugment"
    assert (found["init_args"]["n"], found["init_args"]["convention"]) == (3, "ildoonet")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([("data.strong", "RandAugmnt")], "nearest: RandAugment"),
        ([("data.strong", "Normalize")], "allowed: AugMix, AutoAugment, Chain, Cutout, FixMatchStrong, KorniaView, RandAugment"),
        ([("data.strong", "RandAugment"), ("data.strong.size", "4")], "data.strong.size"),
    ],
)
def test_what_is_no_strong_view_is_refused(flags: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        strong(*flags)


def test_a_level_out_of_range_is_refused_in_its_own_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--data.strong", "FixMatchStrong", "--data.strong.m", "11", "--run_dir", str(tmp_path / "run")]
    assert main(["fit", "--config", "act_digits.yaml", *flags]) != 0
    assert 'm must be in 0..10 with convention="fixmatch"' in capsys.readouterr().err


def test_a_recipe_names_several_in_turn(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_RECIPE)
    data = _construct(compose([str(tmp_path / "mine.yaml")], [("data.strong.views.0.n", "3")]).config["data"])
    assert data.strong == Chain([RandAugment(3, 3), Cutout(2, fill=127)])


@pytest.mark.slow
def test_a_run_keeps_the_names_of_several_in_turn(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_RECIPE)
    run = tmp_path / "run"
    assert main(["fit", "--config", str(tmp_path / "mine.yaml"), "--trainer.max_steps", "1", "--run_dir", str(run)]) == 0
    kept = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["strong"]
    first, second = kept["init_args"]["views"]
    assert kept["class_path"].endswith(".Chain") and first["init_args"]["m"] == 3
    assert second == {"class_path": f"{_HOME}.image.Cutout", "init_args": {"size": 2, "fill": 127, "relative_to": None}}


def test_help_describes_a_view() -> None:
    assert "rise_every" in describe("RandAugment") and "severity" in describe("AugMix")
