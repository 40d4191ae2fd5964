"""CORES2: cross-entropy minus its mean over labels weighted by frequency, and a sieve for samples."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.losses.log_probs import Reduction, log_probs_of, of_given, reduced

__all__ = ["cores2", "cores2_keeps", "cores2_regularizer", "cores2_weight"]

_SHIFT = 1e-8
_LOG_SHIFT = math.log(_SHIFT)


def cores2_regularizer(logits: Tensor, prior: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """``-sum_c prior_c (-log(p_c + 1e-8))``, 0 or less: it rewards confident predictions (Cheng et al., 2021).

    Args:
        logits: (B, K) float, unnormalized.
        prior: (K,) float shares of the given labels, 0 or more with sum 1; no gradient.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    values = (log_probs_of(logits).exp() + _SHIFT).log()
    return reduced((values * prior.detach().to(values.dtype)).sum(1), reduction)


def cores2(logits: Tensor, target: Tensor, prior: Tensor, *, weight: float, reduction: Reduction = "mean") -> Tensor:
    """``CE(z, y) - b sum_c prior_c (-log(p_c + 1e-8))`` (Cheng et al., 2021). It may be negative.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        prior: (K,) float shares of the given labels; no gradient.
        weight: b, 0 or more.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1., .5], [0., 0., 0., 0.], [-1., 3., .5, 1.]])
    >>> round(cores2(z, torch.tensor([0, 1, 3]), torch.tensor([.4, .3, .2, .1]), weight=2.0).item(), 5)
    -2.41344
    """
    losses = -of_given(log_probs_of(logits), target)
    return reduced(losses + weight * cores2_regularizer(logits, prior, reduction="none"), reduction)


def cores2_keeps(logits: Tensor, target: Tensor) -> Tensor:
    """(B,) bool: samples with ``CE(z, y) - mean_c(-log(p_c + 1e-8)) <= 0``: loss at most that of the average label.

    The 1e-8 holds each term of the mean at 18.42: classes that the network rules out count no more than that, while the
    cross-entropy of the given label has no such limit. The difference is computed as
    ``mean_c(z_c) - z_y + mean_c log(1 + 1e-8 / p_c)``. Equal logits leave K * 1e-8 of it, which in float32 is a rounding error of
    either sign: up to twice that counts as 0, so that they are kept.

    Source: authors' code, https://github.com/haochenglouis/cores.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1., .5], [.1, .1, .1, .1], [-1., 3., .5, 1.]])
    >>> cores2_keeps(z, torch.tensor([1, 2, 0])).tolist()
    [False, True, False]
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # log(1 + 1e-8 / p), which neither overflows nor vanishes where p does
    beyond = F.softplus(_LOG_SHIFT - log_probs_of(logits), threshold=80.0).mean(1)
    return (logits - of_given(logits, target)[:, None]).mean(1) + beyond <= 2 * _SHIFT * logits.shape[1]


def cores2_weight(epoch: int) -> float:
    """b of epoch `epoch`, counted from 0, in the benchmark of KlemenVovk/noisy-labels.

    0 for 10 epochs, then 30 evenly spaced values from 0 to 2, and 2 from there on.

    >>> [round(cores2_weight(epoch), 5) for epoch in (9, 10, 11, 25, 39, 99)]
    [0.0, 0.0, 0.06897, 1.03448, 2.0, 2.0]
    """
    return 2 * min(max(epoch - 10, 0), 29) / 29
