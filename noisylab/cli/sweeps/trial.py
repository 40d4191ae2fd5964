"""One trial: an ordinary run, stopped early where the pruner says so."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from noisylab.callbacks import Pause
from noisylab.cli.errors import UserError
from noisylab.methods.base import NoisyLabelMethod
from noisylab.reports import read_run

__all__ = ["PruneTrial", "folder_of", "result_of"]

_LAST_STOP = 0.8  # share of the epochs after which a trial is trained to its end: what is left costs less than it tells
_NEVER = 1 << 30  # an epoch that no run comes to


class PruneTrial(Pause, Checkpoint):
    """Reports the objective after each epoch, and ends training where it is not worth going on, but not in the last fifth.

    The run is then a paused one: its summary says ``complete: false`` and ``ended_by: Pause``, and ``fit --resume`` trains it to
    its end. It is a `Checkpoint` callback to run after the method's own end of the epoch.

    Args:
        objective: the metric.
        report: takes its value and the number of epochs trained; returns whether to stop.
    """

    def __init__(self, objective: str, report: Callable[[float, int], bool]) -> None:
        super().__init__(_NEVER)
        self.objective, self._report = objective, report

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report, and stop."""
        value = pl_module.epoch_metrics.get(self.objective) if isinstance(pl_module, NoisyLabelMethod) else None
        if value is None or math.isnan(float(value)):
            return
        done = trainer.current_epoch + 1
        if self._report(float(value), done) and done <= _LAST_STOP * (trainer.max_epochs or 0):
            self.epochs = done
        self._end(trainer, done)


def folder_of(sweep: Path, number: int) -> Path:
    """The run folder of a trial."""
    return sweep / f"trial-{number:04d}"


def result_of(folder: Path, objective: str, average: int) -> float | None:
    """The objective of a finished run, the mean over its last epochs; None for one that was stopped early.

    Args:
        folder: with a summary.
        objective: the metric.
        average: number of epochs.

    Raises:
        UserError: where the run has no such metric, or no number in its last epochs.
    """
    run = read_run(folder)
    if run.summary.get("ended_by") == Pause.__name__:
        return None
    curve = run.curves.get(objective)
    if curve is None:
        named = ", ".join(sorted(name for name in run.curves if name.startswith(("val/", "train/"))))
        held = "; val/... needs held-out rows: data.val_fraction 0.1" if objective.startswith("val/") else ""
        raise UserError(f"{objective} was never logged{held}; the run has {named}")
    values: list[Any] = [float(value) for value in curve.values[-average:]]
    if not all(map(math.isfinite, values)):
        raise UserError(f"{objective} is no number in the last epochs: {', '.join(f'{value:g}' for value in values)}")
    return statistics.fmean(values)
