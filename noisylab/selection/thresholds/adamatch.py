"""AdaMatch: predictions aligned to the labeled rows, with a threshold relative to their confidence."""

from __future__ import annotations

import torch

from noisylab.arguments import Fraction, FractionBelowOne
from noisylab.selection.thresholds.alignment import align
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["AdaMatchThreshold"]


class AdaMatchThreshold(ThresholdPolicy):
    """Keeps rows that are nearly as confident as the labeled rows, after alignment to the labeled rows' class shares.

    The probabilities are aligned (`align`) so that their running mean becomes that of the labeled rows; a row passes at
    ``threshold`` times the mean confidence of the labeled rows of the same step. Pseudo-labels are also made from the aligned
    probabilities.

    **Source**: Berthelot et al., AdaMatch, ICLR 2022, arXiv 2106.04732; running means as in USB, microsoft/
    Semi-supervised-learning 1ef4cbe: that of the labeled rows starts from 1/K, that of the unlabeled ones from the first step.

    Args:
        num_classes: K.
        threshold: share of the labeled rows' mean confidence, a fraction.
        momentum: fraction of each running mean that is kept in each training step.
    """

    def __init__(self, num_classes: int, threshold: Fraction = 0.95, momentum: FractionBelowOne = 0.999) -> None:
        super().__init__(num_classes, threshold=threshold, momentum=momentum)
        self.threshold, self.momentum = threshold, momentum
        self.add("labeled_mean", torch.full((num_classes,), 1 / num_classes))
        self.add_first_mean("mean_probs", num_classes)

    @property
    def needs_labeled(self) -> bool:
        """Always."""
        return True

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows whose aligned confidence is at or above the threshold, else 0; none without labeled rows."""
        assert seen.labeled_probs is not None
        mean_probs = self.follow_first_mean("mean_probs", seen.probs.mean(0), self.momentum)
        target, threshold = self["labeled_mean"], seen.probs.new_full((), torch.nan)  # nothing is at or above NaN
        if len(seen.labeled_probs):
            target = self.follow_mean("labeled_mean", seen.labeled_probs.mean(0), self.momentum)
            threshold = self.threshold * seen.labeled_probs.amax(1).mean()
        probs = align(seen.probs, target, mean_probs)
        return Weighted((probs.amax(1) >= threshold).float(), probs, threshold)
