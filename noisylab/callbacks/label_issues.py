"""Callback that writes the list of probable label issues at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn

from noisylab.data.base import NoisyDataModule
from noisylab.issues.ranking import rank_labels
from noisylab.issues.table import LABEL_ISSUES, IssueTable
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["LabelIssues"]


class LabelIssues(Checkpoint):
    """Writes ``label_issues.csv`` at the end of training: the training rows, with the label most likely to be wrong first.

    It is a `Checkpoint` callback only to run after the method's own end of the epoch.

    Args:
        folder: the run folder.

    Attributes:
        table: what was written; None before, and where the method has observed no sample.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LABEL_ISSUES
        self.table: IssueTable | None = None

    @property
    def state_key(self) -> str:
        """The same key for every folder, because the folder of a resumed run may have moved."""
        return "LabelIssues"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the list."""
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, NoisyLabelMethod) and isinstance(data, NoisyDataModule):
            self.write(trainer, pl_module, data)

    def write(self, trainer: L.Trainer, method: NoisyLabelMethod, data: NoisyDataModule) -> None:
        """Write the list of a method whose memory is complete, or warn that there is nothing to rank."""
        self.table = rank_labels(method, data)
        if self.table is None:
            rank_zero_warn(
                f"no label_issues.csv: {type(method).__name__} never saw an unmixed input, as with mixup in every batch; "
                "train without it to get the labels ranked"
            )
        elif trainer.is_global_zero:
            self.table.write(self.path)
