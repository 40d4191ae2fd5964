"""Soft labels of the training rows, and which methods have no use for them."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.data.partition import Split
from noisylab.data.semi import left_out
from noisylab.noise import NoisyTargets
from noisylab.types import DataInfo

__all__ = ["not_used", "soft_rows"]


def soft_rows(noisy: NoisyTargets | None, split: Split) -> Tensor | None:
    """(N, K) float32: the soft labels of the rows that are trained on, 0 in all others; `None` where labels are classes.

    Args:
        noisy: the labels.
        split: of the rows.
    """
    if noisy is None or noisy.soft_target is None:
        return None
    rows = torch.zeros_like(noisy.soft_target)
    rows[split.train] = noisy.soft_target[split.train]
    return rows


def not_used(method: object, info: DataInfo) -> list[str]:
    """What a method has no use for in the data, a sentence each: unlabeled rows, soft labels; often nothing.

    Args:
        method: of `noisylab.methods`.
        info: of the data.
    """
    lines = left_out(method, len(info.unlabeled_rows))
    if info.soft_target is not None and not getattr(method, "uses_soft", False):
        lines.append(
            f"{type(method).__name__} learns from classes alone: it uses the consensus, the largest part of each soft label"
        )
    return lines
