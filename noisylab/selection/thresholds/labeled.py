"""A threshold from the labeled rows of the same step."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.arguments import Fraction
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["LabeledThreshold", "quantile_of"]


class LabeledThreshold(ThresholdPolicy):
    """Keeps rows at least as confident as the labeled rows that the network gets right.

    The threshold is the mean, or a quantile, of the confidences of the step's labeled rows whose given label is predicted. If
    there are none, the previous step's threshold is used.

    Args:
        num_classes: K.
        quantile: which quantile, a fraction, 0.5 for the median; None for the mean.
        start: threshold until a labeled row is predicted correctly, a fraction.

    Example:
        >>> policy = LabeledThreshold(2)
        >>> labeled, target = torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 1])
        >>> policy(torch.tensor([[0.8, 0.2], [0.3, 0.7]]), torch.arange(2), 0, labeled, target).weight
        tensor([1., 0.])
    """

    def __init__(self, num_classes: int, quantile: Fraction | None = None, start: Fraction = 0.95) -> None:
        super().__init__(num_classes, quantile=quantile, start=start)
        self.quantile = quantile
        self.add("threshold", start)

    @property
    def needs_labeled(self) -> bool:
        """Always."""
        return True

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows at or above the threshold, else 0."""
        assert seen.labeled_probs is not None and seen.labeled_target is not None
        if len(seen.labeled_probs):
            confidence, predicted = seen.labeled_probs.max(1)
            right = predicted == seen.labeled_target
            found = (
                (confidence * right).sum() / right.sum().float()
                if self.quantile is None
                else quantile_of(confidence, self.quantile, right)
            )
            self.put("threshold", torch.where(right.any(), found, self["threshold"]))
        threshold = self["threshold"].clone()
        return Weighted((seen.confidence >= threshold).float(), seen.probs, threshold)


def quantile_of(values: Tensor, share: float, among: Tensor | None = None) -> Tensor:
    """A quantile with linear interpolation, as is numpy's default, for any number of values.

    ``torch.quantile`` refuses more than 2^24 values, and it cannot leave some out without reading back how many.

    Args:
        values: (M,) float, M at least 1.
        share: share of the values below the quantile, a fraction.
        among: (M,) bool, the values to use; None for all.

    Returns:
        (), infinity if no value is used.

    Example:
        >>> quantile_of(torch.tensor([0.9, 0.8, 0.6, 0.99]), 0.2).item().__round__(6)
        0.72
    """
    if among is None:
        rising, last = values.sort().values, len(values) - 1
        low = int(last * share)
        return rising[low].lerp(rising[min(low + 1, last)], last * share - low)
    rising = values.masked_fill(~among, torch.inf).sort().values
    end = (among.sum() - 1).clamp(min=0)
    place = end.float() * share
    first = place.floor().long()
    lower, upper = rising.gather(0, torch.stack((first, torch.minimum(first + 1, end))))
    return torch.where(lower == upper, lower, lower + (upper - lower) * (place - first))
