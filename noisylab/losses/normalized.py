"""Losses divided by their sum over all labels, and the focal loss."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from noisylab.losses.log_probs import Reduction, log_probs_of, of_given, reduced
from noisylab.losses.robust import gce_of, mae, rce

__all__ = ["Active", "Passive", "active_passive", "focal", "normalized"]

Active: TypeAlias = Literal["ce", "focal", "gce"]
"""A loss that raises the probability of the given label."""

Passive: TypeAlias = Literal["rce", "mae"]
"""A loss that lowers the probabilities of the other labels, too."""


def focal(
    logits: Tensor, target: Tensor, *, gamma: float = 0.5, detach_factor: bool = False, reduction: Reduction = "mean"
) -> Tensor:
    """Focal loss ``-(1 - p_y)^gamma log p_y``; the cross-entropy for gamma = 0.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        gamma: exponent, 0 or more; 0.5 is that of https://github.com/HanxunH/Active-Passive-Losses.
        detach_factor: whether ``(1 - p_y)^gamma`` is a constant for the gradient, as in that code. The value is the same.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> round(focal(torch.zeros(1, 4), torch.tensor([2]), gamma=2.0).item(), 6)
    0.779791
    """
    return reduced(_focal_of(of_given(log_probs_of(logits), target), gamma, detach_factor), reduction)


def _focal_of(log_probs: Tensor, gamma: float, detach_factor: bool) -> Tensor:
    # a power of exactly 0 has an infinite derivative for gamma < 1
    rest = (-log_probs.expm1()).clamp(min=torch.finfo(log_probs.dtype).tiny)
    factor = rest.pow(gamma)
    return -(factor.detach() if detach_factor else factor) * log_probs


def normalized(
    logits: Tensor,
    target: Tensor,
    *,
    base: Active = "ce",
    q: float = 0.1,
    gamma: float = 0.5,
    detach_factor: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """``l(p, y) / sum_c l(p, c)``, a loss in [0, 1] (Ma et al., 2020): NCE, NFL or NGCE.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        base: l, the cross-entropy, the focal loss (`focal`) or the generalized cross-entropy (`noisylab.losses.gce`).
        q: exponent of "gce", in (0, 1]; the authors' 0.1 is for CIFAR-10 and MNIST, on CIFAR-100 they have 0.7.
        gamma: exponent of "focal", 0 or more.
        detach_factor: whether the factors ``(1 - p)^gamma`` of "focal" are constants for the gradient, as in the authors' code.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    Source: https://github.com/HanxunH/Active-Passive-Losses.

    >>> import torch
    >>> [round(normalized(torch.zeros(1, 4), torch.tensor([2]), base=base).item(), 6) for base in ("ce", "focal", "gce")]
    [0.25, 0.25, 0.25]
    """
    log_probs = log_probs_of(logits)
    if base == "gce":
        losses = gce_of(log_probs, q)
    elif base == "focal":
        losses = _focal_of(log_probs, gamma, detach_factor)
    else:
        losses = -log_probs
    return reduced(of_given(losses, target) / losses.sum(1), reduction)


def active_passive(
    logits: Tensor,
    target: Tensor,
    *,
    active: Active = "ce",
    passive: Passive = "rce",
    alpha: float = 1.0,
    beta: float = 1.0,
    q: float = 0.1,
    gamma: float = 0.5,
    detach_factor: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """``alpha`` times a normalized loss plus ``beta`` times RCE or MAE (Ma et al., 2020): NCE+RCE, NGCE+MAE and so on.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        active: what is normalized; see `normalized`.
        passive: reverse cross-entropy (`noisylab.losses.rce`), or mean absolute error in its reduced form ``1 - p_y``.
        alpha: weight of the normalized loss, 0 or more.
        beta: weight of the other, 0 or more.
        q: exponent of "gce", in (0, 1]; see `normalized`.
        gamma: exponent of "focal", 0 or more.
        detach_factor: see `normalized`.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    first = normalized(logits, target, base=active, q=q, gamma=gamma, detach_factor=detach_factor, reduction="none")
    reverse = passive == "rce"
    second = rce(logits, target, reduction="none") if reverse else mae(logits, target, form="reduced", reduction="none")
    return reduced(alpha * first + beta * second, reduction)
