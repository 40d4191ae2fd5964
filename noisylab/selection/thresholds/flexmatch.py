"""FlexMatch's thresholds: lower for classes that are learned slowly."""

from __future__ import annotations

import torch

from noisylab.arguments import Fraction
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["FlexMatchThreshold"]


class FlexMatchThreshold(ThresholdPolicy):
    """One threshold per class, lower for classes that few unlabeled rows are confidently predicted as.

    For each unlabeled row, the policy remembers the class that was last predicted with a confidence of at least `threshold`, over
    the whole fit. With n_k rows of class k and m rows without a class yet, ``beta_k = n_k / max(max n, m)``, and a row predicted
    as k passes at ``threshold * beta_k / (2 - beta_k)``. So every row passes at the very first step.

    Rows are first weighted with the previous step's beta; then their confident predictions are recorded and beta is updated.

    **Source**: Zhang et al., FlexMatch, NeurIPS 2021, arXiv 2110.08263; the order is that of TorchSSL and USB, microsoft/
    Semi-supervised-learning 1ef4cbe, whose beta, unlike here, also stays 0 while all rows have the same class.

    Args:
        num_classes: K.
        threshold: confidence at which a prediction is remembered, a fraction.
        warmup: whether m is in the denominator of beta; without it, beta_k is ``n_k / max n``.
    """

    def __init__(self, num_classes: int, threshold: Fraction = 0.95, warmup: bool = True) -> None:
        super().__init__(num_classes, threshold=threshold, warmup=warmup)
        self.threshold, self.warmup = threshold, warmup
        self.add("selected", torch.tensor(-1), per_row=True)
        self.add("learned", torch.zeros(num_classes))  # beta

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows at or above the threshold of their predicted class, else 0."""
        confidence, predicted = seen.probs.max(1)
        learned = self["learned"]
        thresholds = self.threshold * learned / (2 - learned)
        weight = (confidence >= thresholds[predicted]).float()
        self._remember(seen.index, predicted, confidence >= self.threshold)
        return Weighted(weight, seen.probs, thresholds)

    def _remember(self, index: torch.Tensor, predicted: torch.Tensor, confident: torch.Tensor) -> None:
        selected = self["selected"]
        # a row may be in a step twice: the last of them counts, on every device alike
        place = torch.where(confident, torch.arange(len(index), device=index.device), -1)
        last = place.new_full((len(selected),), -1).scatter_reduce(0, index, place, "amax")
        self.put("selected", torch.where(last >= 0, predicted[last.clamp(min=0)], selected))
        counts = selected.new_zeros(self.num_classes + 1).index_add_(0, selected + 1, torch.ones_like(selected))
        most = (counts if self.warmup else counts[1:]).max().clamp(min=1)
        self.put("learned", counts[1:].float() / most)
