"""What robust losses share: log-probabilities in at least float32, and the reduction of per-sample losses."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Reduction", "log_probs_of", "of_given", "reduced"]

Reduction: TypeAlias = Literal["mean", "none"]


def log_probs_of(logits: Tensor) -> Tensor:
    """(B, K) log-probabilities in float32, of float64 logits in float64.

    Args:
        logits: (B, K) float, unnormalized.
    """
    return F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 1)


def of_given(values: Tensor, target: Tensor) -> Tensor:
    """(B,) the entry of each row of `values` (B, K) at its given label, `target` (B,) int64."""
    return values.gather(1, target[:, None]).squeeze(1)


def reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    """The mean of the losses (B,), NaN when there are none, or the losses themselves."""
    return losses.mean() if reduction == "mean" else losses
