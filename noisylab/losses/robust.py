"""Losses that bound the cost of one wrong label: MAE, GCE, reverse and symmetric cross-entropy."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from noisylab.losses.log_probs import Reduction, log_probs_of, of_given, reduced

__all__ = ["gce", "gce_of", "mae", "rce", "sce", "truncated_gce"]

_LOG_FLOOR = math.log(1e-7)  # authors' codes: probabilities of at least 1e-7
_LOG_ZERO = -math.log(1e-4)  # authors' code of SCE: log 0 in a label is log 1e-4


def mae(logits: Tensor, target: Tensor, *, form: Literal["full", "reduced"] = "full", reduction: Reduction = "mean") -> Tensor:
    """Mean absolute error between probabilities and label, ``sum_c |p_c - [c = y]| = 2 (1 - p_y)``.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        form: "reduced" is half of it, ``1 - p_y``.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> mae(torch.zeros(1, 4), torch.tensor([2])).item(), mae(torch.zeros(1, 4), torch.tensor([2]), form="reduced").item()
    (1.5, 0.75)
    """
    rest = -of_given(log_probs_of(logits), target).expm1()
    return reduced(2 * rest if form == "full" else rest, reduction)


def gce_of(log_probs: Tensor, q: float) -> Tensor:
    """``(1 - p^q) / q`` of log-probabilities of any shape, with p clamped at 1e-7, below which there is no gradient.

    Computed from ``q log p``: a power of p itself has an infinite derivative at p = 0.
    """
    return -(q * log_probs.clamp(min=_LOG_FLOOR)).expm1() / q


def gce(logits: Tensor, target: Tensor, *, q: float = 0.7, reduction: Reduction = "mean") -> Tensor:
    """Generalized cross-entropy ``(1 - p_y^q) / q`` (Zhang and Sabuncu, 2018).

    It tends to the cross-entropy as q goes to 0 and is ``1 - p_y`` for q = 1. It lies in [0, 1 / q].

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        q: exponent, in (0, 1].
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> round(gce(torch.zeros(1, 4), torch.tensor([2])).item(), 6)
    0.887244
    """
    return reduced(gce_of(of_given(log_probs_of(logits), target), q), reduction)


def truncated_gce(
    logits: Tensor,
    target: Tensor,
    kept: Tensor | None = None,
    *,
    q: float = 0.7,
    k: float = 0.5,
    reduction: Reduction = "mean",
) -> Tensor:
    """``w [(1 - p_y^q) / q - (1 - k^q) / q]``: negative where p_y exceeds k (Zhang and Sabuncu, 2018).

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        kept: (B,) bool, w; a sample that is not kept contributes 0 and no gradient. None keeps all.
        q: exponent, in (0, 1].
        k: probability of the given label above which a sample is kept, in (0, 1).
        reduction: "mean" over the whole batch, samples left out included, or "none" for (B,).
    """
    losses = gce(logits, target, q=q, reduction="none") + math.expm1(q * math.log(k)) / q
    return reduced(losses if kept is None else torch.where(kept, losses, torch.zeros_like(losses)), reduction)


def rce(logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Reverse cross-entropy ``-sum_c p_c log [c = y]`` with -9.210340 (log 1e-4) for log 0: ``9.210340 (1 - p_y)``.

    p_y is at least 1e-7; below, it has no gradient.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    given = of_given(log_probs_of(logits), target).clamp(min=_LOG_FLOOR)
    return reduced(-_LOG_ZERO * given.expm1(), reduction)


def sce(logits: Tensor, target: Tensor, *, alpha: float = 0.1, beta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Symmetric cross-entropy ``alpha CE + beta RCE`` (Wang et al., 2019); see `rce`.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        alpha: weight of the cross-entropy, 0 or more.
        beta: weight of the reverse cross-entropy, 0 or more.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    forward = -of_given(log_probs_of(logits), target)
    return reduced(alpha * forward + beta * rce(logits, target, reduction="none"), reduction)
