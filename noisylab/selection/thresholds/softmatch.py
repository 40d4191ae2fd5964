"""SoftMatch's weights: a Gaussian bell over the confidence instead of a threshold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisylab.arguments import FractionBelowOne, Positive
from noisylab.selection.thresholds.alignment import align
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["SoftMatchThreshold", "bell", "class_moments"]


class SoftMatchThreshold(ThresholdPolicy):
    """Gives weight 1 above the mean confidence so far, and less the further a row is below it.

    With c the confidence, ``mu`` and ``var`` the running mean and variance of c over the steps, from 1/K and 1, the weight is
    ``exp(-min(c - mu, 0)^2 n^2 / (2 var))``. First the probabilities are aligned (`align`) so that their running mean is
    uniform, then mu and var are updated, then the rows are weighted. Pseudo-labels are made from the unaligned probabilities. A
    step of one row has no variance and changes neither. The logged threshold is mu, below which weights fall.

    **Source**: Chen et al., SoftMatch, ICLR 2023, arXiv 2301.10921; order, start values and alignment as in USB, microsoft/
    Semi-supervised-learning 1ef4cbe.

    Args:
        num_classes: K.
        n_sigma: n, the steepness, positive.
        momentum: m, fraction of mu, var and the mean probabilities that is kept in each training step.
        aligned: whether the probabilities are aligned.
        per_class: whether there is a mu and a var for each predicted class. If a step has fewer than two rows of a class, its mu
            is pulled toward 0 and its var toward 1: with many classes and small batches, every row has a weight near 1.
    """

    def __init__(
        self,
        num_classes: int,
        n_sigma: Positive = 2.0,
        momentum: FractionBelowOne = 0.999,
        aligned: bool = True,
        per_class: bool = False,
    ) -> None:
        super().__init__(num_classes, n_sigma=n_sigma, momentum=momentum, aligned=aligned, per_class=per_class)
        self.n_sigma, self.momentum, self.aligned, self.per_class = n_sigma, momentum, aligned, per_class
        shape = (num_classes,) if per_class else ()
        self.add("mean", torch.full(shape, 1 / num_classes))
        self.add("variance", torch.ones(shape))
        if aligned:
            self.add_first_mean("mean_probs", num_classes)

    def weigh(self, seen: Guesses) -> Weighted:
        """The bell's height at each row's confidence."""
        probs = seen.probs
        if self.aligned:
            mean_probs = self.follow_first_mean("mean_probs", probs.mean(0), self.momentum)
            probs = align(probs, torch.full_like(mean_probs, 1 / self.num_classes), mean_probs)
        confidence, predicted = probs.max(1)
        if self.per_class:
            mean, variance = class_moments(confidence, predicted, self.num_classes)
        elif len(confidence) > 1:
            mean, variance = confidence.mean(), confidence.var()
        else:
            mean, variance = self["mean"], self["variance"]
        if self.per_class or len(confidence) > 1:
            self.follow_mean("mean", mean, self.momentum)
            self.follow_mean("variance", variance, self.momentum)
        mu = self["mean"].clone()
        center, spread = (mu[predicted], self["variance"][predicted]) if self.per_class else (mu, self["variance"])
        return Weighted(bell(confidence, center, spread, self.n_sigma), seen.probs, mu)


def bell(confidence: Tensor, mean: Tensor, variance: Tensor, n_sigma: float) -> Tensor:
    """``exp(-min(c - mean, 0)^2 n^2 / (2 variance))``, which is 1 at and above the mean; with a variance of 0 it is a step.

    Args:
        confidence: (B,) c.
        mean: () or (B,).
        variance: () or (B,), not negative.
        n_sigma: n.
    """
    below = (confidence - mean).clamp(max=0) ** 2 * n_sigma**2
    return (-below / (2 * variance).clamp(min=torch.finfo(variance.dtype).tiny)).exp()


def class_moments(confidence: Tensor, predicted: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of the confidence of each class's rows; 0 and 1 for classes with fewer than two rows.

    Args:
        confidence: (B,) float32.
        predicted: (B,) int64, 0..K-1.
        num_classes: K.

    Returns:
        (K,) and (K,).
    """
    classes = torch.arange(num_classes, device=confidence.device)
    pieces = list(zip(confidence.split(rows := _rows(num_classes)), predicted.split(rows), strict=True))

    def total(of: Callable[[Tensor], Tensor]) -> Tensor:  # of each class; piece by piece, and in the same order on every device
        sums = [torch.where(k[:, None] == classes, of(c[:, None]), 0.0).sum(0) for c, k in pieces]
        return torch.stack(sums).sum(0)

    count = total(torch.ones_like)
    mean = total(lambda c: c) / count.clamp(min=1)
    variance = total(lambda c: (c - mean) ** 2) / (count - 1).clamp(min=1)
    several = count > 1
    return torch.where(several, mean, 0.0), torch.where(several, variance, 1.0)


def _rows(num_classes: int) -> int:
    """Rows whose table (rows, K) is small enough, where all rows of a training set come at once."""
    return max(2**24 // num_classes, 1)
