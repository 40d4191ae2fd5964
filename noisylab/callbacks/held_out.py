"""Callback that saves the predicted probabilities of held-out rows."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from noisylab.callbacks.summary import RunSummary
from noisylab.data.base import NoisyDataModule
from noisylab.files import atomic_path
from noisylab.types import EvalBatch

__all__ = ["HeldOutProbabilities"]


class HeldOutProbabilities(Checkpoint):
    """Averages the headline predictor's probabilities for the test rows over all epochs; writes ``held_out.npz`` at the end.

    For runs whose test set is a fold of the training rows: of such rows nothing was learned, so that their probabilities say how
    likely their labels are. The file holds ``index`` (M,), rows of the original training set, and ``probs`` (M, K) float32. It
    lies in the run folder, that of `RunSummary`.

    It is a `Checkpoint` callback only to be in the checkpoint after the method's own end of the epoch.

    Raises:
        ValueError: at the start of fit, for data without folds, or several processes, each of which sees a share of the rows.
    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._epochs = 0
        self._running: dict[int, list[Tensor]] = {}
        self._written = False

    @property
    def state_key(self) -> str:
        """The same key for every instance."""
        return "HeldOutProbabilities"

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, and over how many epochs."""
        return {"sums": self._sums, "epochs": self._epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums."""
        self._sums, self._epochs = state["sums"], int(state["epochs"])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the data."""
        data: Any = getattr(trainer, "datamodule", None)
        if not isinstance(data, NoisyDataModule) or not data.folds:
            raise ValueError("HeldOutProbabilities needs a fold as the test set; set data.folds to 5 and data.fold to 0..4")
        if trainer.world_size > 1:
            raise ValueError(f"HeldOutProbabilities needs one process, got {trainer.world_size}; set trainer.devices to 1")

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Discard what an interrupted evaluation left."""
        self._running = {}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the predictions for the test rows."""
        if isinstance(batch, EvalBatch) and batch.split == "test":
            self._running[batch_idx] = [batch.index, F.softmax(outputs["logits"].float(), 1)]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch."""
        if trainer.sanity_checking or not self._running or trainer.state.fn != TrainerFn.FITTING:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self._sums is None:
            self._sums = torch.zeros(data.info.num_train, data.num_classes, device=pl_module.device)
        self._sums = self._sums.to(pl_module.device)
        for index, probs in self._running.values():
            self._sums.index_add_(0, index, probs)
        self._epochs += 1
        self._running = {}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the means."""
        self._write(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the means for a run that was killed after its last checkpoint and has nothing left to train when resumed."""
        if not self._written:
            self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        folder = next((c.folder for c in trainer.callbacks if isinstance(c, RunSummary)), None)  # type: ignore[attr-defined]
        if self._sums is None or folder is None:
            return
        index = (self._sums.sum(1) > 0).nonzero().flatten()
        probs = self._sums[index] / self._sums[index].sum(1, keepdim=True)
        with atomic_path(folder / "held_out.npz") as partial, partial.open("wb") as file:
            np.savez(file, index=index.cpu().numpy(), probs=probs.cpu().numpy())
        self._written = True
