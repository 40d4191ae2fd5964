"""FreeMatch's threshold: it follows the confidence of the predictions, overall and for each class."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.arguments import Fraction, FractionBelowOne
from noisylab.selection.thresholds.labeled import quantile_of
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["FreeMatchThreshold"]

_LARGEST = 0.95  # of the threshold, where it is clipped


class FreeMatchThreshold(ThresholdPolicy):
    """Self-adaptive thresholds: the mean confidence so far, scaled for each class by how probable it is on average.

    Running means, all from 1/K: t of the confidence, p_k of the probability of class k, h_k of the share of rows predicted as k,
    ``t <- m t + (1 - m) mean max p`` and so on. They are updated first; then a row predicted as k passes at ``t p_k / max p``.
    The fairness term of FreeMatch's loss reads `mean_probs` and `histogram`.

    **Source**: Wang et al., FreeMatch, ICLR 2023, arXiv 2205.07246; order and options as in USB, microsoft/
    Semi-supervised-learning 1ef4cbe.

    Args:
        num_classes: K.
        momentum: m, fraction kept in each training step; half is forgotten in about 700 steps at 0.999.
        quantile: t follows this quantile of the confidences instead of their mean, a fraction (0.8 in USB's option); None for
            the mean. With few rows, a quantile is mostly chance.
        clip: whether t is limited to at most 0.95.
    """

    def __init__(
        self, num_classes: int, momentum: FractionBelowOne = 0.999, quantile: Fraction | None = None, clip: bool = False
    ) -> None:
        super().__init__(num_classes, momentum=momentum, quantile=quantile, clip=clip)
        self.momentum, self.quantile, self.clip = momentum, quantile, clip
        self.add("confidence", 1 / num_classes)
        self.add("mean_probs", torch.full((num_classes,), 1 / num_classes))
        self.add("histogram", torch.full((num_classes,), 1 / num_classes))

    @property
    def mean_probs(self) -> Tensor:
        """(K,) running mean of the class probabilities, up to and including the last step."""
        return self["mean_probs"]

    @property
    def histogram(self) -> Tensor:
        """(K,) running mean of the shares of rows predicted as each class."""
        return self["histogram"]

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows at or above the threshold of their predicted class, else 0."""
        confidence, predicted = seen.probs.max(1)
        level = confidence.mean() if self.quantile is None else quantile_of(confidence, self.quantile)
        self.follow_mean("confidence", level, self.momentum)
        if self.clip:
            self["confidence"].clamp_(0, _LARGEST)
        self.follow_mean("mean_probs", seen.probs.mean(0), self.momentum)
        self.follow_mean("histogram", self.shares(predicted), self.momentum)
        thresholds = self["confidence"] * self.mean_probs / self.mean_probs.max()
        return Weighted((confidence >= thresholds[predicted]).float(), seen.probs, thresholds)
