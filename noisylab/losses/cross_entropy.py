"""Cross-entropy with smoothed, mixed or soft labels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.losses.log_probs import Reduction

__all__ = ["cross_entropy", "soft_cross_entropy"]


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.0,
    convention: Literal["torch", "others"] = "torch",
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy against smoothed labels, ``-sum_c t_c log softmax(logits)_c``, in float32 (float64 for such logits).

    The target t puts, with smoothing s and K classes: "torch", ``1 - s + s/K`` on the label and ``s/K`` elsewhere (Szegedy et
    al., CVPR 2016, section 7); "others", ``1 - s`` on the label and ``s/(K-1)`` elsewhere.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        smoothing: s, fraction in [0, 1).
        convention: see above.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1., .5], [0., 0., 0., 0.], [-1., 3., .5, 1.]])
    >>> round(cross_entropy(z, torch.tensor([0, 1, 3]), smoothing=0.1, convention="others").item(), 6)
    1.391215
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if convention == "others" and smoothing:
        log_probs = F.log_softmax(logits, 1)
        given = log_probs.gather(1, target[:, None]).squeeze(1)
        rest = (log_probs.sum(1) - given) / (logits.shape[1] - 1)
        losses = -(1 - smoothing) * given - smoothing * rest
        return losses.mean() if reduction == "mean" else losses
    return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction=reduction)


def soft_cross_entropy(logits: Tensor, probs: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Cross-entropy against a distribution over the classes, in float32 (float64 for such logits).

    Args:
        logits: (B, K) float, unnormalized.
        probs: (B, K) float, rows sum to one.
        reduction: "mean" over the batch or "none" for (B,).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = -(probs.to(logits.dtype) * F.log_softmax(logits, 1)).sum(1)
    return losses.mean() if reduction == "mean" else losses
