"""The parts of MixMatch's objective, as DivideMix uses them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["prior_penalty", "sharpen", "squared_error"]


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """``p^(1/T) / sum p^(1/T)`` of each row, in at least float32 (Berthelot et al., NeurIPS 2019, equation 7).

    Args:
        probs: (B, K) float, at least 0, rows with a positive sum.
        temperature: T, positive; below 1 sharpens.

    >>> import torch
    >>> [round(p, 6) for p in sharpen(torch.tensor([[.5, .3, .2]]), 0.5)[0].tolist()]
    [0.657895, 0.236842, 0.105263]
    """
    # as logits: the powers themselves may all be too small for a number
    return F.softmax(probs.to(torch.promote_types(probs.dtype, torch.float32)).log() / temperature, 1)


def squared_error(logits: Tensor, probs: Tensor) -> Tensor:
    """Mean over the classes of the squared distance of the softmax to a target, (B,), in at least float32.

    Args:
        logits: (B, K) float, unnormalized.
        probs: (B, K) float target.
    """
    predicted = F.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 1)
    return (predicted - probs).square().mean(1)


def prior_penalty(mean_probs: Tensor, prior: Tensor | None = None) -> Tensor:
    """``sum_c pi_c log(pi_c / p_c)``: how far a batch's mean prediction is from a prior (Tanaka et al., CVPR 2018).

    Args:
        mean_probs: (K,) float mean of the batch's predicted probabilities.
        prior: (K,) float pi, sums to 1; None for all classes alike (Li et al., ICLR 2020).
    """
    # log of the smallest float32 in place of log 0, which has no gradient to come back by
    logs = mean_probs.clamp(min=torch.finfo(mean_probs.dtype).tiny).log()
    if prior is None:
        return -math.log(len(mean_probs)) - logs.mean()
    return (torch.special.xlogy(prior, prior) - prior * logs).sum()
