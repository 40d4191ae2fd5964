"""A run of a method with a transition matrix leaves its picture and table behind, and shows the picture to the loggers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from noisylab.cli import main
from noisylab.cli.running.figures import draw
from noisylab.cli.running.loggers.base import Dashboard
from noisylab.estimation import read_transition

SMOKE = ["fit", "--config", "ce_digits.yaml", "--config", "smoke.yaml", "--model.network.width", "4"]
TOY = ["--model", "helpers.transitions.EstimatingToy"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


@pytest.mark.slow
def test_picture_and_table_appear_in_the_run_folder_and_the_picture_in_tensorboard(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tmp_path / "X"
    assert main([*SMOKE, *TOY, "--logger", "tensorboard", "--run_dir", str(folder)]) == 0
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    record = summary["transition"]
    assert record["epoch"] == 1 and summary["diagnostics"]["transition/error"] == pytest.approx(record["metrics"]["error"])
    estimate = torch.tensor(record["estimate"], dtype=torch.float64)
    assert torch.equal(read_transition(folder / "transition.csv", 10), estimate)
    events = accumulators.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    (shown,) = events.Images("transition")
    assert shown.step > 0 and events.Scalars("transition/error")[-1].step == shown.step
    with Image.open(folder / "transition.png") as drawn, Image.open(io.BytesIO(shown.encoded_image_string)) as logged:
        assert np.array_equal(np.asarray(drawn.convert("RGB")), np.asarray(logged.convert("RGB")))
    assert not list(folder.glob(".*.partial"))


@pytest.mark.slow
def test_a_method_without_a_matrix_leaves_neither(tmp_path: Path) -> None:
    assert main([*SMOKE, "--run_dir", str(tmp_path / "X")]) == 0
    assert not list((tmp_path / "X").glob("transition.*"))


class _Shown(Dashboard):
    """Takes pictures without a service behind it."""

    def __init__(self) -> None:
        self.pictures: list[tuple[str, Path, int]] = []

    def show(self, name: str, picture: Path, step: int) -> None:
        assert picture.is_file()
        self.pictures.append((name, picture, step))

    def log_outcome(self, figures: Mapping[str, float], ended_by: str | None, step: int, epoch: int) -> None:
        """Nothing."""


def test_a_dashboard_is_handed_the_picture_once_with_the_step_and_other_loggers_nothing(tmp_path: Path) -> None:
    record = {"epoch": 1, "estimate": [[0.8, 0.2], [0.3, 0.7]], "truth": None, "metrics": {}}
    (tmp_path / "summary.json").write_text(json.dumps({"method": "Forward", "transition": record}))
    logger = _Shown()
    trainer: Any = SimpleNamespace(loggers=[CSVLogger(tmp_path / "csv"), logger], global_step=12)
    draw(tmp_path, trainer)
    assert logger.pictures == [("transition", tmp_path / "transition.png", 11)]
    assert not list(tmp_path.glob("csv/**/*.png"))


@pytest.mark.parametrize("summary", [{}, {"transition": None, "mixture": {}}])
def test_the_summary_of_a_run_without_a_matrix_draws_nothing(tmp_path: Path, summary: dict[str, Any]) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    logger = _Shown()
    trainer: Any = SimpleNamespace(loggers=[logger], global_step=12)
    draw(tmp_path, trainer)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"] and not logger.pictures
