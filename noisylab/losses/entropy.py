"""Entropy of predictions."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["negative_entropy"]


def negative_entropy(logits: Tensor, *, clamp_logits: bool = False, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``sum_c q_c log q_c`` with q the softmax of the logits: a penalty on confident predictions.

    Computed in float32, of float64 logits in float64.

    Args:
        logits: (B, K) float, unnormalized.
        clamp_logits: first raise every logit to at least 1e-12, as the authors' code of ACT does; a negative logit then has no
            gradient.
        reduction: "mean" over the batch or "none" for (B,).

    >>> import torch
    >>> z = torch.tensor([[2., -1., .5], [-3., -2., -1.]])
    >>> round(negative_entropy(z).item(), 6), round(negative_entropy(z, clamp_logits=True).item(), 6)
    (-0.72699, -0.925296)
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if clamp_logits:
        logits = logits.clamp(min=1e-12)
    log_probs = F.log_softmax(logits, 1)
    values = (log_probs.exp() * log_probs).sum(1)
    return values.mean() if reduction == "mean" else values
