"""SED's two rules, updated once an epoch from the predictions for all rows."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.arguments import Fraction, FractionBelowOne, Positive
from noisylab.selection.thresholds.labeled import quantile_of
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted
from noisylab.selection.thresholds.softmatch import bell, class_moments

__all__ = ["SCRThreshold", "SCSThreshold"]

_LARGEST = 0.95  # of the threshold


class SCSThreshold(ThresholdPolicy):
    """Self-adaptive and class-balanced selection: keeps labeled rows whose label is probable enough for its class.

    Once an epoch, `end_epoch` updates ``g <- m g + (1 - m) quantile_q(p_y)``, at most 0.95, and the mean probabilities
    ``l_k <- m l_k + (1 - m) mean p_k``, both from 1/K, and then takes a row as clean if ``p_y >= g l_y / max l``. That is
    FreeMatch's recursion, once an epoch and for given labels. Called like any policy, for unlabeled rows, it remembers nothing
    and uses the predicted class as y.

    A momentum that is applied once an epoch acts slowly: after 80 updates with 0.999, a mean has covered 8 % of its way.

    **Source**: Sheng et al., SED, ECCV 2024, arXiv 2407.02778; authors' code at 16fea96, whose scripts set a momentum of 0.9 to
    0.999 for each data set.

    Args:
        num_classes: K.
        momentum: m, fraction.
        quantile: q, fraction.

    Example:
        >>> rule = SCSThreshold(2, momentum=0.5)
        >>> rule.end_epoch(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), torch.tensor([0, 1, 1]))
        tensor([1., 0., 1.])
    """

    def __init__(self, num_classes: int, momentum: FractionBelowOne = 0.999, quantile: Fraction = 0.8) -> None:
        super().__init__(num_classes, momentum=momentum, quantile=quantile)
        self.momentum, self.quantile = momentum, quantile
        self.add("confidence", 1 / num_classes)
        self.add("mean_probs", torch.full((num_classes,), 1 / num_classes))

    @torch.no_grad()
    def end_epoch(self, probs: Tensor, targets: Tensor) -> Tensor:
        """Update from all rows, then weight them.

        Args:
            probs: (N, K) class probabilities of the training rows, of all ranks.
            targets: (N,) int64 their given labels.

        Returns:
            (N,) float32, 1 for rows taken as clean, else 0.
        """
        given = probs.float().gather(1, targets[:, None]).squeeze(1)
        if len(given):
            self.follow_mean("confidence", quantile_of(given, self.quantile), self.momentum).clamp_(0, _LARGEST)
            self.follow_mean("mean_probs", probs.float().mean(0), self.momentum)
        return (given >= self.thresholds[targets]).float()

    @property
    def thresholds(self) -> Tensor:
        """(K,) the probability at which a label of each class is taken as right."""
        return self["confidence"] * self["mean_probs"] / self["mean_probs"].max()

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows whose confidence is at or above the threshold of their predicted class, else 0."""
        confidence, predicted = seen.probs.max(1)
        return Weighted((confidence >= self.thresholds[predicted]).float(), seen.probs, self.thresholds)


class SCRThreshold(ThresholdPolicy):
    """Self-adaptive and class-balanced reweighting: SoftMatch's bell for each predicted class, updated once an epoch.

    `end_epoch` updates for each class the mean and the variance of the confidence of the rows predicted as it, from 1/K and 1, by
    ``mu_k <- m mu_k + (1 - m) mean c`` and so on, and then weights rows by ``exp(-min(c - mu_k, 0)^2 n^2 / (2 var_k))``.
    Classes with fewer than two rows count as mean 0 and variance 1. Called like any policy, it uses the current means and
    remembers nothing.

    **Source**: Sheng et al., SED, ECCV 2024, arXiv 2407.02778; authors' code at 16fea96, whose scripts set a momentum of 0.85 to
    0.999 for each data set.

    Args:
        num_classes: K.
        momentum: m, fraction kept in each epoch.
        n_sigma: n, the steepness, positive.

    Example:
        >>> rule = SCRThreshold(2, momentum=0.5)
        >>> rule.end_epoch(torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]))
        tensor([1., 1., 1.])
    """

    def __init__(self, num_classes: int, momentum: FractionBelowOne = 0.999, n_sigma: Positive = 2.0) -> None:
        super().__init__(num_classes, momentum=momentum, n_sigma=n_sigma)
        self.momentum, self.n_sigma = momentum, n_sigma
        self.add("mean", torch.full((num_classes,), 1 / num_classes))
        self.add("variance", torch.ones(num_classes))

    @torch.no_grad()
    def end_epoch(self, probs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Update from all rows, then weight them.

        Args:
            probs: (N, K) class probabilities of the training rows, of all ranks.
            targets: (N,) not used; accepted so that both rules can be called alike.

        Returns:
            (N,) float32 in [0, 1].
        """
        confidence, predicted = probs.float().max(1)
        if len(confidence):
            mean, variance = class_moments(confidence, predicted, self.num_classes)
            self.follow_mean("mean", mean, self.momentum)
            self.follow_mean("variance", variance, self.momentum)
        return bell(confidence, self["mean"][predicted], self["variance"][predicted], self.n_sigma)

    def weigh(self, seen: Guesses) -> Weighted:
        """The bell's height at each row's confidence."""
        confidence, predicted = seen.probs.max(1)
        weight = bell(confidence, self["mean"][predicted], self["variance"][predicted], self.n_sigma)
        return Weighted(weight, seen.probs, self["mean"].clone())
