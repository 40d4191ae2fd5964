"""One progress bar for the whole run."""

from __future__ import annotations

import math
import sys
from typing import Any

import lightning as L
from tqdm.auto import tqdm

from noisylab.methods.base import NoisyLabelMethod
from noisylab.terminal import silence

__all__ = ["RunProgress"]


class RunProgress(L.Callback):
    """Steps of the whole fit with the time left, and the headline accuracy after each epoch.

    The bar is refreshed at most every tenth of a second and never reads a number back from the device.

    Args:
        label: shown in front of the bar.
    """

    def __init__(self, label: str = "fit") -> None:
        self.label = label
        self._bar: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar at the current step of the run."""
        self._bar = tqdm(
            total=_expected_steps(trainer),
            initial=trainer.global_step,
            desc=self.label,
            unit="step",
            disable=not trainer.is_global_zero,
            mininterval=0.1,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance one step; at the start of an epoch, whose length may differ, update the total."""
        if self._bar is not None:
            if batch_idx == 0:
                self._bar.total = _expected_steps(trainer)
            try:
                self._bar.update()
            except OSError:  # nobody reads it any more; the run goes on
                silence(sys.stderr)
                self._bar = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the accuracy."""
        if self._bar is not None and isinstance(pl_module, NoisyLabelMethod):
            found = {name: pl_module.last_accuracy(name) for name in ("val", "test")}
            shown = {f"{name} acc": f"{value:.3f}" for name, value in found.items() if value is not None}
            self._bar.set_postfix({"epoch": trainer.current_epoch + 1, **shown}, refresh=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._close()

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            try:
                bar.close()
            except OSError:
                silence(sys.stderr)


def _expected_steps(trainer: L.Trainer) -> int | None:
    """Steps of the whole fit if all epochs to come are as long as this one; None without an end."""
    if not trainer.max_epochs or trainer.max_epochs < 0 or math.isinf(trainer.num_training_batches):
        return None
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    before = trainer.global_step - progress.current.processed
    return before + int(trainer.num_training_batches) * (trainer.max_epochs - trainer.current_epoch)
