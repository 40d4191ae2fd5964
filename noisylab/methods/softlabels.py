"""Distributions over the classes as targets, for methods whose loss takes one."""

from __future__ import annotations

from torch import Tensor

from noisylab.methods.checkpointed import Checkpointed
from noisylab.types import Batch

__all__ = ["soft_target"]


def soft_target(method: Checkpointed, samples: Batch) -> Tensor | None:
    """(B, K) float32 targets of the samples of a batch of training rows; `None` where the data has classes alone.

    They are what the data's annotators said, ``info.soft_target``, never the truth; the table lies on the method's device.

    Args:
        method: one with ``uses_soft = True``.
        samples: of training rows.
    """
    table = method.info.soft_target
    if table is None:
        return None
    kept: tuple[Tensor, Tensor] | None = method.__dict__.get("_soft_table")
    if kept is None or kept[0] is not table or kept[1].device != samples.index.device:
        kept = method.__dict__["_soft_table"] = (table, table.to(samples.index.device))
    return kept[1][samples.index]
