"""Callback that saves what a run predicts for the rows held out for validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from noisylab.data.base import NoisyDataModule
from noisylab.files import atomic_path
from noisylab.methods.base import NoisyLabelMethod
from noisylab.types import EvalBatch

__all__ = ["HeldOutLabels"]


class HeldOutLabels(Checkpoint):
    """Writes ``validation.npz`` at the end of training: what the last validation predicted, beside the given labels.

    The file is what runs of other methods, settings and seeds are compared by without clean labels, row by row. It holds, for the
    held-out rows that have a given label and were evaluated,

    - ``index`` (M,) int64, rows of the original training set, in ascending order;
    - ``given`` (M,) int64, their given labels, also where validation compares with true ones: no true label is in the file;
    - ``pred`` (M,) int64, the label that the headline predictor expects to be given, as ``val/acc`` on given labels counts it;
    - ``top_prob`` (M,) float32, the probability of that label.

    Every run of the command line has one; it writes nothing where no rows are held out. What it holds is in the checkpoint, after
    the method's own end of the epoch: therefore it is a `Checkpoint` callback.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "validation.npz"
        self._rows: Tensor | None = None  # (V,) held-out rows, ascending
        self._running: list[tuple[Tensor, Tensor, Tensor]] = []
        self._found: dict[str, Tensor] = {}
        self._written = False

    @property
    def state_key(self) -> str:
        """The same key for every folder, because the folder of a resumed run may have moved."""
        return "HeldOutLabels"

    def state_dict(self) -> dict[str, Any]:
        """What the last validation predicted."""
        return dict(self._found)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._found = {name: state[name].cpu() for name in ("index", "pred", "top_prob") if name in state}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look up the held-out rows."""
        data: Any = getattr(trainer, "datamodule", None)
        held = isinstance(data, NoisyDataModule) and isinstance(pl_module, NoisyLabelMethod) and len(data.split.val) > 0
        self._rows = data.split.val.sort().values.to(pl_module.device) if held else None
        self._written = False

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Discard what an interrupted validation left."""
        self._running = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the predictions for held-out rows."""
        if self._rows is None or not isinstance(batch, EvalBatch) or batch.split != "val":
            return
        assert isinstance(pl_module, NoisyLabelMethod)
        top, pred = pl_module.given_logits(outputs["logits"].float()).softmax(1).max(1)
        self._running.append((batch.index, pred, top))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Join the predictions of all ranks."""
        running, self._running = self._running, []
        if self._rows is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        assert isinstance(pl_module, NoisyLabelMethod)
        # one table of both; a rank leaves -1 where the row is another's, or was left out
        table = torch.full((2, len(self._rows)), -1.0, dtype=torch.float64, device=pl_module.device)
        for index, pred, top in running:
            place = torch.searchsorted(self._rows, index.to(self._rows).contiguous())
            table[:, place] = torch.stack([pred.double(), top.double()])
        if trainer.world_size > 1:
            table = pl_module.gather(table).amax(0)
        seen = table[0] >= 0
        pred, top = table[:, seen].cpu()
        self._found = {"index": self._rows[seen].cpu(), "pred": pred.long(), "top_prob": top.float()}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file, also where a callback ended the run early."""
        self._write(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it for a run that was killed after its last checkpoint and has nothing left to train when resumed."""
        if not self._written:
            self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        if not self._found or len(self._found["index"]) == 0 or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        index, pred, top_prob = (self._found[name] for name in ("index", "pred", "top_prob"))
        given = data.given_target[index]
        columns = {"index": index, "given": given, "pred": pred, "top_prob": top_prob}
        with atomic_path(self.path) as partial, partial.open("wb") as file:
            np.savez(file, **{name: column[given >= 0].numpy() for name, column in columns.items()})
        self._written = True
