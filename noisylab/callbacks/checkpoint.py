"""When checkpoints are written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from noisylab.engine.resume import AtomicCheckpointIO
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["RunCheckpoint"]


class RunCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch, in between on request, and ``best.ckpt`` by validation accuracy.

    Files are written whole or not at all (`AtomicCheckpointIO`). A save that falls between the last batch of an epoch and the
    epoch's end, by this callback or any other, is put off to the epoch's end: Lightning would skip the epoch-end hooks after a
    resume from there. A save while gradients are being accumulated, which are in no checkpoint, is put off to the next update;
    one before a validation within the epoch, which Lightning would leave out after the resume, to the batch after it. A SIGTERM
    waits as long, at most for one validation. The limit ``max_steps`` is kept here, as Lightning repeats the epoch-end hooks when
    it resumes a run with that limit; the last epoch is validated.

    Args:
        folder: where the files go.
        every_n_steps: also write ``last.ckpt`` after every so many batches; None does not.
        every_n_minutes: also write it when this much time has passed since the last one; None does not.
    """

    def __init__(self, folder: str | Path, every_n_steps: int | None = None, every_n_minutes: float | None = 10.0) -> None:
        self.folder = Path(folder)
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self.best: tuple[float, int] | None = None
        self._saved_at = time.monotonic()
        self._max_steps = -1
        self._in_epoch = self._terminated = False
        self._deferred: list[tuple[Any, bool, Any]] = []

    @property
    def state_key(self) -> str:
        """The same for every folder: a resumed run may have moved."""
        return "RunCheckpoint"

    def state_dict(self) -> dict[str, Any]:
        """Best validation accuracy and its epoch."""
        return {"best": None if self.best is None else list(self.best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.best = None if state["best"] is None else (float(state["best"][0]), int(state["best"][1]))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make every save of this trainer atomic, and put off those that fall before the end of an epoch."""
        if stage != "fit":
            return
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        if trainer.max_steps != -1:
            self._max_steps, trainer.fit_loop.epoch_loop.max_steps = trainer.max_steps, -1
        save = type(trainer).save_checkpoint

        def save_checkpoint(filepath: Any, weights_only: bool | None = None, storage_options: Any = None) -> None:
            if self._must_wait(trainer):
                self._deferred.append((filepath, bool(weights_only), storage_options))
            else:
                save(trainer, filepath, bool(weights_only), storage_options)

        trainer.save_checkpoint = save_checkpoint  # type: ignore[method-assign]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._saved_at = time.monotonic()
        trainer.should_stop |= self._finished(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """From here to the epoch's end not every moment is one to resume from."""
        self._in_epoch = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when due."""
        trainer.should_stop |= self._finished(trainer)
        if self._must_wait(trainer):
            self._hold_sigterm(trainer)
            return
        self._release_sigterm(trainer)
        self._flush(trainer)
        due = self.every_n_steps is not None and (batch_idx + 1) % self.every_n_steps == 0
        if not due and self.every_n_minutes is not None:
            due = time.monotonic() - self._saved_at > 60 * self.every_n_minutes
            if trainer.world_size > 1:  # ranks have clocks of their own; asking costs an exchange, so not every batch
                due = batch_idx % 20 == 0 and bool(trainer.strategy.broadcast(due))
        if due or trainer.received_sigterm:
            self._save(trainer, "last.ckpt")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The epoch is complete: save it, and whatever was put off."""
        self._in_epoch = False
        assert isinstance(pl_module, NoisyLabelMethod)
        accuracy = pl_module.epoch_metrics.get("val/acc")
        if accuracy is not None and (self.best is None or accuracy > self.best[0]):
            self.best = (accuracy, trainer.current_epoch)
            self._save(trainer, "best.ckpt")
        self._flush(trainer)
        self._save(trainer, "last.ckpt")
        self._release_sigterm(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Let a validation within an epoch finish."""
        if self._in_epoch:
            self._hold_sigterm(trainer)

    def _hold_sigterm(self, trainer: L.Trainer) -> None:
        # Lightning would stop right here, and what was trained since the last save would be lost
        if trainer.received_sigterm:
            self._terminated, trainer._signal_connector.received_sigterm = True, False

    def _release_sigterm(self, trainer: L.Trainer) -> None:
        if self._terminated:
            self._terminated, trainer._signal_connector.received_sigterm = False, True

    def _must_wait(self, trainer: L.Trainer) -> bool:
        if not self._in_epoch:
            return False
        module, loop = trainer.lightning_module, trainer.fit_loop
        accumulating = module.automatic_optimization and (loop.batch_idx + 1) % trainer.accumulate_grad_batches != 0
        done = loop.batch_idx if trainer.check_val_every_n_epoch is not None else loop.total_batch_idx
        every = trainer.val_check_batch
        validation = trainer.enable_validation and isinstance(every, int) and (done + 1) % every == 0
        pending = bool(getattr(module, "pending_gradients", False))
        return trainer.is_last_batch or accumulating or pending or validation or self._finished(trainer)

    def _finished(self, trainer: L.Trainer) -> bool:
        return self._max_steps != -1 and trainer.global_step >= self._max_steps

    def _flush(self, trainer: L.Trainer) -> None:
        deferred, self._deferred = self._deferred, []
        for arguments in deferred:
            trainer.save_checkpoint(*arguments)

    def _save(self, trainer: L.Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)
        self._saved_at = time.monotonic()
