"""Turns meta-gradients into weights, and weights into a split."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["Rule", "hard_weights", "mislabeled", "sum_to_one"]

Rule = Literal["hard_weights", "quantile"]


def sum_to_one(scores: Tensor, total: Tensor | None = None, *, epsilon: float = 0.0) -> Tensor:
    """``max(u, 0) / (sum max(u, 0) + epsilon)``: a batch's weights (Ren et al., ICML 2018, equation 13).

    Args:
        scores: (B,) meta-gradients u, positive where a step on the sample helps.
        total: the sum, where it is that of a larger batch; None for that of these scores.
        epsilon: added to the sum, 1e-5 in the authors' code of IEG. With 0, weights are all 0 where no score is positive.

    >>> import torch
    >>> sum_to_one(torch.tensor([3., -2., 1.])).tolist(), sum_to_one(torch.tensor([-1., -2.])).tolist()
    ([0.75, 0.0, 0.25], [0.0, 0.0])
    """
    kept = scores.clamp(min=0)
    total = (kept.sum() if total is None else total) + epsilon
    return kept / torch.where(total > 0, total, torch.ones_like(total))


def hard_weights(weights: Tensor) -> Tensor:
    """``(w - min w) / (max w - min w)`` of a batch (B,); 0 where all are equal.

    >>> import torch
    >>> [round(h, 4) for h in hard_weights(torch.tensor([.05, .2, .1, .05])).tolist()]
    [0.0, 1.0, 0.3333, 0.0]
    """
    low, high = weights.amin(), weights.amax()
    spread = high - low
    return (weights - low) / torch.where(spread > 0, spread, torch.ones_like(spread))


def mislabeled(weights: Tensor, threshold: float, rule: Rule = "hard_weights") -> Tensor:
    """(B,) bool: the samples of a batch to train with pseudo labels.

    "hard_weights": those whose weight, brought to [0, 1] by `hard_weights`, is below the threshold; "quantile": those below that
    quantile of the weights. Where none is below, those at it; where there is still none, the smaller half. A threshold of 1 or
    more follows the first rule whatever `rule` says; above 1 it takes all samples.

    Args:
        weights: (B,) weights of the batch, at least 0.
        threshold: not negative.
        rule: see above.

    Raises:
        ValueError: for another rule, or a negative threshold.

    >>> import torch
    >>> w = torch.tensor([.05, .2, .1, .05])
    >>> mislabeled(w, 0.2, "quantile").tolist(), mislabeled(w, 1.1).all().item()
    ([True, False, False, True], True)
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}")
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, got {threshold}; above 1 it takes all samples")
    if rule == "quantile" and threshold < 1:
        values, bound = weights, torch.quantile(weights, threshold)
    else:
        values = hard_weights(weights)
        bound = torch.full_like(values[0], threshold)
    below, touching = values < bound, values <= bound
    smallest = torch.zeros_like(below)
    smallest[torch.argsort(weights, stable=True)[: (len(weights) + 1) // 2]] = True
    return torch.where(below.any(), below, torch.where(touching.any(), touching, smallest))
