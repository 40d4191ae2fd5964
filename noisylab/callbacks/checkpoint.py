"""Callback that writes checkpoints, and decides when."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn

from noisylab.checkpoints.atomic import AtomicCheckpointIO
from noisylab.engine.stop_signals import StopSignals
from noisylab.files import clear_partials
from noisylab.methods.base import NoisyLabelMethod
from noisylab.upstream.lightning import leave_sigterm_to_callbacks, set_received_sigterm

__all__ = ["RunCheckpoint"]


class RunCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch, in between on request, and ``best.ckpt`` by what `monitor` names,
    of a method with stages within the last one begun.

    Files are written whole or not at all (`AtomicCheckpointIO`). A save that falls between the last batch of an epoch and the
    epoch's end, by this callback or any other, is put off to the epoch's end: Lightning would skip the epoch-end hooks after a
    resume from there. A save while gradients are being accumulated, which are in no checkpoint, is put off to the next update;
    one before a validation within the epoch, which Lightning would leave out after the resume, to the batch after it. The limit
    ``max_steps`` is kept here, as Lightning repeats the epoch-end hooks when it resumes a run with that limit; the last epoch is
    validated.

    Where something else ends the run within an epoch (``max_time``), the checkpoint is that of the last step, and a resume takes
    up the epoch there. A run that ``max_steps`` ends within an epoch is complete; the rest of that epoch is not taken up.

    SIGTERM, SIGUSR1 and Ctrl-C end the run with a ``SystemExit`` after a save, which waits as long: for the end of the step, or
    of the epoch with its validation. Several ranks agree on the step, whichever of them got the signal. A second Ctrl-C stops at
    once.

    Args:
        folder: where the files go; None for ``checkpoints`` in the Trainer's ``default_root_dir``.
        every_n_steps: also write ``last.ckpt`` after every so many batches of an epoch; None does not.
        every_n_minutes: also write it when this much time has passed since the last one; None does not.
        monitor: what chooses the best epoch, both on held-out rows: the highest "val/acc" or the lowest "val/loss"; the first of
            equals, and never NaN. The loss is that of the given labels as the method predicts them.

    Attributes:
        best: value of `monitor` in the best epoch, and that epoch; None before there is one.
        stopped_by: the signal that ended the run, None if none did.

    Raises:
        ValueError: for an interval that is not positive, another `monitor`, or the checkpoint of a run with another one.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = 10.0,
        monitor: Literal["val/acc", "val/loss"] = "val/acc",
    ) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("every_n_minutes", every_n_minutes)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}; None writes no such checkpoints")
        if monitor not in ("val/acc", "val/loss"):
            raise ValueError(f"monitor must be 'val/acc' or 'val/loss', got {monitor!r}")
        self.folder = None if folder is None else Path(folder)
        self.monitor = monitor
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self.best: tuple[float, int] | None = None
        self._signals = StopSignals()
        self._saved_at = time.monotonic()
        self._max_steps = -1
        self._in_epoch = self._cut_short = False
        self._deferred: list[tuple[Any, bool, Any]] = []
        self._group: Any = None
        self.stopped_by: signal.Signals | None = None

    @property
    def state_key(self) -> str:
        """The same key for every folder, because the folder of a resumed run may have moved."""
        return "RunCheckpoint"

    def state_dict(self) -> dict[str, Any]:
        """The monitored quantity, its best value and the epoch of that value."""
        return {"monitor": self.monitor, "best": None if self.best is None else list(self.best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        monitor = state.get("monitor", "val/acc")
        if monitor != self.monitor:
            raise ValueError(
                f"the checkpoint comes from a run whose best epoch is chosen by {monitor}, but monitor is {self.monitor!r}; "
                f"resume with checkpoint.monitor {monitor}, or start a new run"
            )
        self.best = None if state["best"] is None else (float(state["best"][0]), int(state["best"][1]))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make every save of this trainer atomic, and postpone saves that are due before the end of an epoch."""
        if stage != "fit":
            return
        if self.folder is None:
            self.folder = Path(trainer.default_root_dir) / "checkpoints"
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
        """Start the clock, take over the signals, and remove partial files of a killed run."""
        assert self.folder is not None
        if trainer.is_global_zero:
            clear_partials(self.folder)
        self._signals = StopSignals()
        self.stopped_by = None
        self._signals.install(loud=trainer.is_global_zero)
        if trainer.received_sigterm:  # before there was anybody to save anything
            self._signals.received = signal.SIGTERM
            set_received_sigterm(trainer, False)
        if trainer.world_size > 1:
            leave_sigterm_to_callbacks(trainer)
            backend = torch.distributed.get_backend()
            self._group = None if backend == "gloo" else torch.distributed.new_group(backend="gloo")
        self._in_epoch, self._cut_short, self._deferred = False, False, []
        self._saved_at = time.monotonic()
        trainer.should_stop |= self.finished(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that until the epoch ends, a run cannot be resumed from every step."""
        self._in_epoch = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when due; stop the run if a signal has asked for it."""
        trainer.should_stop |= self.finished(trainer)
        late = self.every_n_minutes is not None and time.monotonic() - self._saved_at > 60 * self.every_n_minutes
        late, stop = self._agree(trainer, late)
        ends = trainer.should_stop and _may_stop(trainer) and not (trainer.is_last_batch or self.finished(trainer))
        if self._must_wait(trainer):
            if ends:
                rank_zero_warn("the run ends where no checkpoint can be resumed: a resume would skip the rest of the epoch")
            return
        self._flush(trainer)
        due = self.every_n_steps is not None and (batch_idx + 1) % self.every_n_steps == 0
        self._cut_short = ends
        if late or due or stop or ends:
            self._save(trainer, "last.ckpt")
        if stop:
            self._stop(trainer, stop)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the complete epoch, and any postponed checkpoints."""
        self._in_epoch = False
        assert isinstance(pl_module, NoisyLabelMethod)
        if self._cut_short:  # the epoch is not complete, and its last step is saved
            return
        value = pl_module.epoch_metrics.get(self.monitor)
        if self.best is not None and self.best[1] < pl_module.best_since(trainer.current_epoch):
            self.best = None  # of an earlier stage, which trained for another end
            assert self.folder is not None
            if trainer.is_global_zero and value is None:
                trainer.strategy.checkpoint_io.remove_checkpoint(self.folder / "best.ckpt")
        if value is not None and self._is_best(value):
            self.best = (value, trainer.current_epoch)
            self._save(trainer, "best.ckpt")
        self._flush(trainer)
        self._save(trainer, "last.ckpt")
        _, stop = self._agree(trainer)
        if stop:
            self._stop(trainer, stop)

    def _is_best(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        return value < self.best[0] if self.monitor == "val/loss" else value > self.best[0]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        self._signals.restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers after an error, too; postponed saves are dropped."""
        self._signals.restore()
        self._in_epoch, self._deferred = False, []

    def _agree(self, trainer: L.Trainer, late: bool = False) -> tuple[bool, int]:
        """Whether the clock of any rank says that a save is due, and the signal that any rank received, else 0."""
        found = (late, int(self._signals.received or 0))
        if trainer.world_size == 1:
            return found
        flags = torch.tensor(found, dtype=torch.int64)  # on the host: the device is not waited for
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, self._group)
        return bool(flags[0]), int(flags[1])

    def _stop(self, trainer: L.Trainer, number: int) -> None:
        """Let Lightning end the run at the end of this batch or epoch, on every rank."""
        self.stopped_by = signal.Signals(number)
        set_received_sigterm(trainer, True)

    def _must_wait(self, trainer: L.Trainer) -> bool:
        if not self._in_epoch:
            return False
        module, loop = trainer.lightning_module, trainer.fit_loop
        accumulating = module.automatic_optimization and (loop.batch_idx + 1) % trainer.accumulate_grad_batches != 0
        done = loop.batch_idx if trainer.check_val_every_n_epoch is not None else loop.total_batch_idx
        every = trainer.val_check_batch
        validation = trainer.enable_validation and isinstance(every, int) and (done + 1) % every == 0
        pending = bool(getattr(module, "pending_gradients", False))
        return trainer.is_last_batch or accumulating or pending or validation or self.finished(trainer)

    def finished(self, trainer: L.Trainer) -> bool:
        """Whether ``max_steps`` has been reached."""
        return self._max_steps != -1 and trainer.global_step >= self._max_steps

    def _flush(self, trainer: L.Trainer) -> None:
        deferred, self._deferred = self._deferred, []
        for arguments in deferred:
            trainer.save_checkpoint(*arguments)

    def _save(self, trainer: L.Trainer, name: str) -> None:
        assert self.folder is not None
        trainer.save_checkpoint(self.folder / name)
        self._saved_at = time.monotonic()


def _may_stop(trainer: L.Trainer) -> bool:
    """Whether ``min_epochs`` and ``min_steps`` are behind, before which Lightning ends no run early."""
    done: Any = trainer.fit_loop.epoch_progress.current
    return done.processed >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
