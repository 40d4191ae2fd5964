"""A run of a method that fits mixtures leaves their figure behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from noisylab.cli import main

SMOKE = ["fit", "--config", "ce_digits.yaml", "--config", "smoke.yaml", "--model.network.width", "4"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


@pytest.mark.slow
def test_the_figure_appears_in_the_run_folder_also_with_numbers_within_epochs(tmp_path: Path) -> None:
    options = ["--model", "helpers.mixtures.FittedToy", "--trainer.log_every_n_steps", "1", "--run_dir", str(tmp_path / "X")]
    assert main([*SMOKE, *options]) == 0
    summary = json.loads((tmp_path / "X" / "summary.json").read_text(encoding="utf-8"))
    (record,) = summary["mixture"]["network"]
    assert record["epoch"] == 1
    assert sum(map(sum, record["histogram"].values())) == summary["data"]["num_train_used"] == 64
    with Image.open(tmp_path / "X" / "mixture.png") as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 300
    assert not list((tmp_path / "X").glob(".*.partial"))


@pytest.mark.slow
def test_the_figure_is_drawn_again_when_a_resumed_run_ends(tmp_path: Path) -> None:
    folder = tmp_path / "X"
    assert main([*SMOKE, "--model", "helpers.mixtures.FittedToy", "--run_dir", str(folder)]) == 0
    before = (folder / "mixture.png").read_bytes()
    (folder / "mixture.png").unlink()
    assert main(["fit", "--run_dir", str(folder), "--resume", "--trainer.max_epochs", "4"]) == 0
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert [record["epoch"] for record in summary["mixture"]["network"]] == [1, 2, 3]
    assert (folder / "mixture.png").read_bytes() != before


@pytest.mark.slow
def test_a_method_without_a_mixture_leaves_no_figure(tmp_path: Path) -> None:
    assert main([*SMOKE, "--run_dir", str(tmp_path / "X")]) == 0
    assert not (tmp_path / "X" / "mixture.png").exists()
