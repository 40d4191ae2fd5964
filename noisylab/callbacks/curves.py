"""The run's own curves: one append-only CSV file that survives every restart."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from noisylab.engine.resume import atomic_path
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["Curves"]

_COLUMNS = ("epoch", "step", "name", "value")


class Curves(Checkpoint):
    """Appends every number that `NoisyLabelMethod.log_epoch` logs to ``metrics.csv``, one row each, at the end of each epoch.

    The rows are also in the checkpoint: on a resume the file is put back to what it was at the checkpoint and goes on from there.
    It is a `Checkpoint` callback only to run after the method's own epoch end and before the checkpoint is written.

    Args:
        folder: where ``metrics.csv`` goes; None keeps the rows in memory only.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.path = None if folder is None else Path(folder) / "metrics.csv"
        self.rows: list[tuple[int, int, str, float]] = []

    @property
    def state_key(self) -> str:
        """The same for every folder: a resumed run may have moved."""
        return "Curves"

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the rows of a checkpoint."""
        self.rows = [(int(e), int(s), str(n), float(v)) for e, s, n, v in state["rows"]]

    def series(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of one metric."""
        return [(epoch, value) for epoch, _, found, value in self.rows if found == name]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the file in step with the rows."""
        if self.path is not None and trainer.is_global_zero:
            with atomic_path(self.path) as partial, partial.open("w", newline="") as file:
                csv.writer(file).writerows([_COLUMNS, *map(_text, self.rows)])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Append this epoch's numbers."""
        if not isinstance(pl_module, NoisyLabelMethod):
            return
        new = [(trainer.current_epoch, trainer.global_step, name, float(v)) for name, v in pl_module.epoch_metrics.items()]
        self.rows += new
        if self.path is not None and trainer.is_global_zero:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerows(map(_text, new))


def _text(row: tuple[int, int, str, float]) -> tuple[int, int, str, str]:
    # repr keeps every bit, so that equal runs have equal files
    return (*row[:3], "nan" if math.isnan(row[3]) else repr(row[3]))
