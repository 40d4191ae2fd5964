"""The curves of a run: one append-only CSV file that survives every restart."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from noisylab.files import atomic_path
from noisylab.methods.base import NoisyLabelMethod
from noisylab.reading import regular

__all__ = ["Curves"]

_COLUMNS = ("epoch", "step", "name", "value")

Row = tuple[int, int, str, float]
"""(epoch, step, name, value)."""


class Curves(Checkpoint):
    """Appends every number that `NoisyLabelMethod.log_epoch` logs to ``metrics.csv``, one row each, at the end of each epoch.

    A checkpoint holds how far the file had come and the digest of what is in it up to there, so that saving takes as long in the
    last epoch as in the first. On a resume the file is read up to that place, put back to it and goes on from there. It is looked
    for in the run's folder, beside the checkpoint, and where it was when the checkpoint was written. Without a folder the rows
    themselves are in the checkpoint, packed in tensors.

    It is a `Checkpoint` callback only to run after the method's own epoch end and before the checkpoint is written.

    Args:
        folder: where ``metrics.csv`` goes; None keeps the rows in memory only.
        every_n_steps: also append, and send to the Trainer's loggers, the means of ``method.means`` over the last so many
            training steps, as ``<name>_step``; None does not. Each time waits for the device once.

    Attributes:
        rows: all of them, in the order of the file.
    """

    def __init__(self, folder: str | Path | None = None, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}; None appends epochs only")
        self.path = None if folder is None else Path(folder) / "metrics.csv"
        self.every_n_steps = every_n_steps
        self.rows: list[Row] = []
        self._totals: dict[str, tuple[float, float]] = {}
        self._wanted: dict[str, Any] | None = None
        self._writes = self._unsynced = False
        self._length, self._digest = 0, hashlib.sha256()

    @property
    def state_key(self) -> str:
        """The same key for every folder, because the folder of a resumed run may have moved."""
        return "Curves"

    def state_dict(self) -> dict[str, Any]:
        """The length of the file on disk or, without a folder, its rows; and the sums that the next rows subtract."""
        totals = {name: list(pair) for name, pair in self._totals.items()}
        if self.path is None:
            return {"rows": _packed(self.rows), "totals": totals}
        if self._writes and self._unsynced:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            self._unsynced = False
        place = {"path": str(self.path.absolute()), "bytes": self._length, "sha256": self._digest.hexdigest()}
        return {"file": place, "totals": totals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the rows of a checkpoint, or note which part of the file `on_fit_start` must read."""
        self._wanted = state.get("file")
        rows = state.get("rows", [])
        self.rows = [(int(e), int(s), str(n), float(v)) for e, s, n, v in (_unpacked(rows) if isinstance(rows, dict) else rows)]
        self._totals = {name: (float(total), float(weight)) for name, (total, weight) in state.get("totals", {}).items()}

    def series(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of one metric."""
        return [(epoch, value) for epoch, _, found, value in self.rows if found == name]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the rows up to the checkpoint from which the run continues.

        Raises:
            ValueError: when the file is missing, shorter than it was or another; on every rank.
        """
        wanted, self._wanted = self._wanted, None
        if wanted is None or not wanted["bytes"]:
            return
        found = self._find(wanted, trainer.ckpt_path) if trainer.is_global_zero else None
        content: bytes | str = trainer.strategy.broadcast(found)  # type: ignore[assignment]
        if isinstance(content, str):
            raise ValueError(  # noqa: TRY004 - a file is at fault
                f"the run cannot continue without its curves up to the checkpoint: {content}\n"
                "they are only in metrics.csv; put that file back into the run folder, or start the run again"
            )
        lines = csv.reader(io.StringIO(content.decode(), newline=""))
        next(lines)
        self.rows = [(int(epoch), int(step), name, float(value)) for epoch, step, name, value in lines]

    def _find(self, wanted: Mapping[str, Any], checkpoint: Any) -> bytes | str:
        """The part of the file that belongs to a checkpoint, else why there is none."""
        places = [] if self.path is None else [self.path]
        if checkpoint is not None:
            places += [folder / "metrics.csv" for folder in list(Path(checkpoint).absolute().parents)[:2]]
        reasons: dict[Path, str] = {}
        for path in [*places, Path(wanted["path"])]:
            try:
                with regular(path).open("rb") as file:
                    content = file.read(wanted["bytes"])
            except OSError as error:
                reasons.setdefault(path.absolute(), error.strerror or str(error) or type(error).__name__)
                continue
            if len(content) == wanted["bytes"] and hashlib.sha256(content).hexdigest() == wanted["sha256"]:
                return content
            short = f"has {len(content)} of the {wanted['bytes']} bytes that it had then"
            what = short if len(content) < wanted["bytes"] else "is another one, or was changed"
            reasons.setdefault(path.absolute(), what)
        return "; ".join(f"{path}: {reason}" for path, reason in reasons.items())

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the file into line with the rows."""
        content = _encoded([_COLUMNS, *map(_text, self.rows)])
        self._length, self._digest = len(content), hashlib.sha256(content)
        self._writes = self.path is not None and trainer.is_global_zero
        if self.path is not None and self._writes:
            with atomic_path(self.path) as partial:
                partial.write_bytes(content)
            self._unsynced = False

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
        content = _encoded(map(_text, new))
        self._length += len(content)
        self._digest.update(content)
        if self.path is not None and self._writes:
            with self.path.open("ab") as file:
                file.write(content)
            self._unsynced = True


def _text(row: Row) -> tuple[int, int, str, str]:
    # repr keeps every bit, so that equal runs have equal files
    return (*row[:3], "nan" if math.isnan(row[3]) else repr(row[3]))


def _encoded(lines: Iterable[tuple[Any, ...]]) -> bytes:
    """Lines of the file, as they are in it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _packed(rows: list[Row]) -> dict[str, Any]:
    """Rows as columns: a checkpoint's lists are read back value by value, its tensors at once."""
    names = {name: number for number, name in enumerate(dict.fromkeys(row[2] for row in rows))}
    return {
        "names": list(names),
        "name": torch.tensor([names[row[2]] for row in rows], dtype=torch.int32),
        "epoch": torch.tensor([row[0] for row in rows], dtype=torch.int32),
        "step": torch.tensor([row[1] for row in rows], dtype=torch.int64),
        "value": torch.tensor([row[3] for row in rows], dtype=torch.float64),
    }


def _unpacked(columns: Mapping[str, Any]) -> Iterable[Row]:
    names = [columns["names"][number] for number in columns["name"].tolist()]
    return zip(columns["epoch"].tolist(), columns["step"].tolist(), names, columns["value"].tolist(), strict=True)
