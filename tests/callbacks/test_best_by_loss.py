"""The best epoch by the lowest loss on held-out rows, where a run asks for it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import DropoutMLP, PlainMLP, ToyData, assert_same, make_trainer

from noisylab.callbacks import Curves, RunCheckpoint, RunSummary
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric


class _Figures(L.Callback):
    """Says what validation found in each epoch."""

    def __init__(self, **values: list[float]) -> None:
        self.values = values

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        for name, values in self.values.items():
            pl_module.epoch_metrics[f"val/{name}"] = values[trainer.current_epoch]


def _run(folder: Path, epochs: int, *callbacks: L.Callback, resume: Path | None = None, **options: Any) -> RunCheckpoint:
    own = RunCheckpoint(folder, every_n_minutes=None, **options)
    data = ToyData(num_train=60, val_fraction=0.3, spread=2.0, noise=Symmetric(0.3))
    make_trainer(folder, epochs, (*callbacks, own)).fit(CrossEntropy(3, DropoutMLP), datamodule=data, ckpt_path=resume)
    return own


def test_best_follows_the_lowest_validation_loss_and_a_resume_knows_it(tmp_path: Path) -> None:
    losses, accuracies = [0.9, 0.4, 0.7, 0.4, 0.3, math.nan], [0.5, 0.6, 0.9, 0.1, 0.1, 1.0]
    found = []
    for epochs in range(1, 7):
        resume = tmp_path / "last.ckpt" if epochs > 1 else None
        own = _run(tmp_path, epochs, _Figures(loss=losses, acc=accuracies), resume=resume, monitor="val/loss")
        assert own.best is not None
        assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == own.best[1]
        found.append(own.best)
    assert found == [(0.9, 0), (0.4, 1), (0.4, 1), (0.4, 1), (0.3, 4), (0.3, 4)], "the first of equals, and never NaN"


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_a_stopped_run_has_the_same_best_network_as_one_that_was_not(monitor: Any, tmp_path: Path) -> None:
    def best(folder: str, *parts: int) -> dict[str, Any]:
        for count, epochs in enumerate(parts):
            torch.manual_seed(0 if count == 0 else 99)
            _run(tmp_path / folder, epochs, resume=tmp_path / folder / "last.ckpt" if count else None, monitor=monitor)
        saved = torch.load(tmp_path / folder / "best.ckpt", weights_only=True)
        return {"weights": saved["state_dict"], "best": saved["callbacks"]["RunCheckpoint"], "step": saved["global_step"]}

    straight = best("straight", 6)
    assert straight["best"]["monitor"] == monitor
    assert_same(best("stopped", 1, 2, 4, 6), straight)


def test_nan_is_never_the_best(tmp_path: Path) -> None:
    for monitor in ("val/acc", "val/loss"):
        own = _run(tmp_path, 2, _Figures(loss=[math.nan, 0.5], acc=[math.nan, 0.5]), monitor=monitor)
        assert own.best == (0.5, 1)


def test_a_run_is_not_resumed_by_another_figure(tmp_path: Path) -> None:
    _run(tmp_path, 1)
    with pytest.raises(
        ValueError, match=r"chosen by val/acc, but monitor is 'val/loss'; resume with checkpoint\.monitor val/acc"
    ):
        _run(tmp_path, 2, resume=tmp_path / "last.ckpt", monitor="val/loss")
    older = RunCheckpoint(tmp_path)
    older.load_state_dict({"best": [0.5, 3]})  # of a file from before there was a choice
    assert older.best == (0.5, 3)
    with pytest.raises(ValueError, match="monitor must be 'val/acc' or 'val/loss', got 'test/acc'"):
        RunCheckpoint(monitor="test/acc")  # type: ignore[arg-type]


@pytest.mark.parametrize(("monitor", "chosen", "words"), [("val/acc", 2, "best epoch by"), ("val/loss", 1, "lowest loss by")])
def test_the_summary_reports_the_epoch_that_was_asked_for(monitor: Any, chosen: int, words: str, tmp_path: Path) -> None:
    curves, summary = Curves(tmp_path), RunSummary(tmp_path)
    data = ToyData(num_train=60, val_fraction=0.3, spread=2.0)

    class Planned(L.Callback):
        """Other figures in the curves, too, which the summary is made from."""

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            planned = {"val/acc": [0.1, 0.2, 0.9, 0.9], "val/loss": [0.9, 0.3, 0.4, 0.3], "test/acc": [0.4, 0.5, 0.6, 0.7]}
            curves.rows = [(epoch, 0, name, value) for name, values in planned.items() for epoch, value in enumerate(values)]
            own.best = (planned[monitor][chosen], chosen)

    own = RunCheckpoint(tmp_path, every_n_minutes=None, monitor=monitor)
    callbacks = (Planned(), curves, summary, own)
    make_trainer(tmp_path, 4, callbacks).fit(CrossEntropy(3, PlainMLP), datamodule=data)
    found = json.loads((tmp_path / "summary.json").read_text())
    figures = found["test"]["headline"]
    assert (figures["best_by_val_acc"], figures["best_by_val_loss"], figures["last"]) == (0.6, 0.5, 0.7)
    assert found["headline"] == figures["best_by_val"] == [0.4, 0.5, 0.6, 0.7][chosen]
    assert words in found["protocol"]
