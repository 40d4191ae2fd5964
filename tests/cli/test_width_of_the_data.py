"""``in_features: auto``: a network as wide as the data."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from noisylab import MLP, CrossEntropy
from noisylab.cli import main

FLAGS = ["fit", "--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "auto"]
SHORT = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--run_dir", "R"]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_run_keeps_the_word_and_is_tested_and_repeated_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    np.savez("a.npz", x=rng.normal(size=(40, 7)), y=y, test_x=rng.normal(size=(6, 7)), test_y=y[:6])
    assert main([*FLAGS, "--data", "Arrays", "--data.path", "a.npz", *SHORT]) == 0
    config = yaml.safe_load(Path("R/config.yaml").read_text())
    assert config["model"]["init_args"]["network"]["init_args"]["in_features"] == "auto"
    assert main(["test", "--run_dir", "R"]) == 0
    assert main(["fit", "--config", "R/config.yaml", "--run_dir", "again"]) == 0
    assert "error" not in capsys.readouterr().err


def test_pictures_in_packs_and_several_views_have_no_one_width(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", x_a=np.eye(6), x_b=np.eye(6), y=np.arange(6) % 2)
    assert main([*FLAGS, "--data", "Arrays", "--data.path", "a.npz", *SHORT]) != 0
    assert "in_features=auto is for samples that are one row of numbers" in capsys.readouterr().err


def test_in_python_the_word_is_refused_with_what_to_give() -> None:
    with pytest.raises(ValueError, match=r"give data\.num_features"):
        CrossEntropy(num_classes=2, network=partial(MLP, in_features="auto"))
