"""Robust f-divergences between inputs with their labels and inputs with independently drawn labels."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from noisylab.losses.log_probs import Reduction, log_probs_of, of_given, reduced

__all__ = ["Divergence", "f_divergence", "independent_term", "joint_term"]

Divergence: TypeAlias = Literal["total_variation", "kl", "jensen_shannon", "pearson"]


def joint_term(
    logits: Tensor, target: Tensor, *, divergence: Divergence = "total_variation", reduction: Reduction = "mean"
) -> Tensor:
    """``-g(p_y)``: what samples contribute to `f_divergence`.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        divergence: see `f_divergence`.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    return reduced(-_activation(of_given(log_probs_of(logits), target).exp(), divergence), reduction)


def independent_term(
    logits: Tensor, target: Tensor, *, divergence: Divergence = "total_variation", reduction: Reduction = "mean"
) -> Tensor:
    """``f*(g(p_y))``: what inputs and labels drawn independently contribute to `f_divergence`.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels of other samples.
        divergence: see `f_divergence`.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    probs = of_given(log_probs_of(logits), target).exp()
    if divergence == "total_variation":
        values = _activation(probs, divergence)
    elif divergence == "kl":
        values = (probs - 1).exp()
    elif divergence == "jensen_shannon":
        values = F.softplus(probs) - math.log(2)  # -log(2 - e^t) at t = log(2 / (1 + e^-v))
    else:
        values = probs.square() / 4 + probs
    return reduced(values, reduction)


def f_divergence(
    logits: Tensor,
    target: Tensor,
    peer_logits: Tensor,
    peer_target: Tensor,
    *,
    divergence: Divergence = "total_variation",
    reduction: Reduction = "mean",
) -> Tensor:
    """``-E g(p_1) + E f*(g(p_2))``, p_1 the probability of a sample's label, p_2 that of an independently drawn label.

    Minus a lower bound of the divergence of the joint distribution from the product of its margins (Wei and Liu, ICLR 2021);
    f* is the convex conjugate of f. It may be negative, but is bounded.

    | divergence | f(u) | g(v) | f*(t) |
    |---|---|---|---|
    | total_variation | abs(u - 1) / 2 | tanh(v) / 2 | t |
    | kl | u log u | v | exp(t - 1) |
    | jensen_shannon | u log u - (u + 1) log((u + 1) / 2) | log(2 / (1 + exp(-v))) | -log(2 - exp(t)) |
    | pearson | (u - 1)^2 | v | t^2 / 4 + t |

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        peer_logits: (M, K) float, of samples drawn at random.
        peer_target: (M,) int64 labels of other samples, drawn independently of those.
        divergence: a row of the table.
        reduction: "mean" of each part, or "none" for (B,), which needs M = B.

    >>> import torch
    >>> z, y = torch.zeros(1, 4), torch.tensor([2])
    >>> [round(f_divergence(z, y, z, y, divergence=name).item(), 6) for name in ("total_variation", "kl", "pearson")]
    [0.0, 0.222367, 0.015625]
    """
    joint = joint_term(logits, target, divergence=divergence, reduction=reduction)
    return joint + independent_term(peer_logits, peer_target, divergence=divergence, reduction=reduction)


def _activation(values: Tensor, divergence: Divergence) -> Tensor:
    """g, which keeps its values in the domain of f*."""
    if divergence == "total_variation":
        return values.tanh() / 2
    return math.log(2) - F.softplus(-values) if divergence == "jensen_shannon" else values
