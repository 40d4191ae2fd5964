"""Callback that ends training after a number of epochs, to be continued."""

from __future__ import annotations

from typing import Any

import lightning as L

__all__ = ["Pause"]


class Pause(L.Callback):
    """Ends training after so many epochs in all, of a run that is meant to go on.

    Unlike a smaller ``trainer.max_epochs``, it leaves the length of the run what it was, and with it every schedule and ramp: a
    run that was paused and then resumed without this callback, or with a later pause, gives the same numbers as one that was
    never paused. The summary of a paused run says ``"complete": false`` and ``"ended_by": "Pause"``. Its figures are those of the
    last epoch. A run whose ``trainer.max_epochs`` comes no later is complete, as without this callback.

    A command hands it to ``fit``, which does not write it into ``config.yaml``. In a recipe it would pause every resume at the
    same epoch.

    Args:
        epochs: after how many epochs, counted from the start of the run; at least 1. Training does not end before
            ``trainer.min_epochs``.

    Attributes:
        paused: whether training has ended here.

    Raises:
        ValueError: for fewer than one epoch.
    """

    def __init__(self, epochs: int) -> None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs must be a whole number, 1 or more, got {epochs!r}")
        self.epochs = epochs
        self.paused = False

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Train nothing where the checkpoint is as far already."""
        done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        self._end(trainer, int(done))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End training if this was the last epoch before the pause."""
        self._end(trainer, trainer.current_epoch + 1)

    def _end(self, trainer: L.Trainer, done: int) -> None:
        self.paused = done >= max(self.epochs, trainer.min_epochs or 0)
        trainer.should_stop = trainer.should_stop or self.paused
