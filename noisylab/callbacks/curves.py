"""The run's own curves: one append-only CSV file that survives every restart."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from noisylab.files import atomic_path
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["Curves"]

_COLUMNS = ("epoch", "step", "name", "value")


class Curves(Checkpoint):
    """Appends every number that `NoisyLabelMethod.log_epoch` logs to ``metrics.csv``, one row each, at the end of each epoch.

    The rows are also in the checkpoint: on a resume the file is put back to what it was at the checkpoint and goes on from there.
    It is a `Checkpoint` callback only to run after the method's own epoch end and before the checkpoint is written.

    Args:
        folder: where ``metrics.csv`` goes; None keeps the rows in memory only.
        every_n_steps: also append, and send to the Trainer's loggers, the means of ``method.means`` over the last so many
            training steps, as ``<name>_step``; None does not. Each time waits for the device once.
    """

    def __init__(self, folder: str | Path | None = None, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}; None appends epochs only")
        self.path = None if folder is None else Path(folder) / "metrics.csv"
        self.every_n_steps = every_n_steps
        self.rows: list[tuple[int, int, str, float]] = []
        self._totals: dict[str, tuple[float, float]] = {}

    @property
    def state_key(self) -> str:
        """The same for every folder: a resumed run may have moved."""
        return "Curves"

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, and what the next ones subtract."""
        return {"rows": [list(row) for row in self.rows], "totals": {name: list(pair) for name, pair in self._totals.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the rows of a checkpoint."""
        self.rows = [(int(e), int(s), str(n), float(v)) for e, s, n, v in state["rows"]]
        self._totals = {name: (float(total), float(weight)) for name, (total, weight) in state.get("totals", {}).items()}

    def series(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of one metric."""
        return [(epoch, value) for epoch, _, found, value in self.rows if found == name]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the file in step with the rows."""
        if self.path is not None and trainer.is_global_zero:
            with atomic_path(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([_COLUMNS, *map(_text, self.rows)])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Append this epoch's numbers."""
        if not isinstance(pl_module, NoisyLabelMethod):
            return
        self._totals = {}
        self._append(trainer, pl_module.epoch_metrics)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Append the means of the steps before when due: later than any callback may have saved them, earlier than the next."""
        if batch_idx > 0:
            self._append_steps(trainer, pl_module, batch_idx)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The same after the last batch of the epoch."""
        if trainer.is_last_batch:
            self._append_steps(trainer, pl_module, batch_idx + 1)

    def _append_steps(self, trainer: L.Trainer, pl_module: L.LightningModule, done: int) -> None:
        if self.every_n_steps is None or done % self.every_n_steps or not isinstance(pl_module, NoisyLabelMethod):
            return
        now = pl_module.means.totals(pl_module.sum_over_ranks)
        means = {}
        for name, (total, weight) in now.items():
            before, weight_before = self._totals.get(name, (0.0, 0.0))
            if weight > weight_before:
                means[f"{name}_step"] = (total - before) / (weight - weight_before)
        self._totals = now
        self._append(trainer, means)
        for logger in trainer.loggers:
            logger.log_metrics(means, step=trainer.global_step)

    def _append(self, trainer: L.Trainer, values: Mapping[str, float]) -> None:
        new = [(trainer.current_epoch, trainer.global_step, name, float(value)) for name, value in values.items()]
        self.rows += new
        if self.path is not None and trainer.is_global_zero:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(map(_text, new))


def _text(row: tuple[int, int, str, float]) -> tuple[int, int, str, str]:
    # repr keeps every bit, so that equal runs have equal files
    return (*row[:3], "nan" if math.isnan(row[3]) else repr(row[3]))
