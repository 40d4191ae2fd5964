"""One progress bar for the whole run."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from typing import Any, TextIO

import lightning as L
from tqdm.auto import tqdm

from noisylab.methods.base import NoisyLabelMethod

__all__ = ["RunProgress", "silence"]


def silence(stream: TextIO) -> None:
    """Send to nowhere what a stream holds back and what comes, after its reader has gone: Python would fail on it at its end."""
    with contextlib.suppress(OSError, ValueError):  # some streams have no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
        """Open the bar where the run stands."""
        epochs = trainer.max_epochs or 0
        total = trainer.num_training_batches * epochs
        known = epochs > 0 and not math.isinf(total)
        self._bar = tqdm(
            total=int(total) if known else None,
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
        """One step more."""
        if self._bar is not None:
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
