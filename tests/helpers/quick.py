"""Shortcuts through Lightning that leave every result as it is: without them, short runs consist of little else."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch.trainer.connectors.logger_connector import result
from torch import Tensor
from torchmetrics import Metric

__all__ = ["take_shortcuts"]


def take_shortcuts(patch: pytest.MonkeyPatch) -> None:
    """Spare the tests two things that Lightning does again and again.

    Whenever a value is logged, all parts of its mean are moved to the device, even if they are there. For each trainer, the
    metadata of all installed packages is read. A version of Lightning that does this elsewhere is left as it is.
    """
    metric: Any = getattr(result, "_ResultMetric", None)
    move = getattr(metric, "to", None)

    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = [value for value in vars(self).values() if isinstance(value, Tensor | Metric)]
        device = torch.device(*args) if len(args) == 1 and not kwargs else None
        if all(isinstance(value, Tensor) and value.device == device for value in held):
            return self
        return move(self, *args, **kwargs)  # type: ignore[misc]  # not called without one

    if move is not None:
        patch.setattr(metric, "to", to)
    if hasattr(registry, "entry_points"):
        patch.setattr(registry, "entry_points", cache(registry.entry_points))
