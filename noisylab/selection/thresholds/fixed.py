"""Policies that ignore how training goes: all rows, a fixed threshold, a threshold that changes linearly."""

from __future__ import annotations

import torch

from noisylab.arguments import AtLeastOne, Fraction
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["FixedThreshold", "LinearThreshold", "NoThreshold"]


class NoThreshold(ThresholdPolicy):
    """Gives every row weight 1, as in MixMatch.

    Args:
        num_classes: K.

    Example:
        >>> NoThreshold(2)(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), step=0).weight
        tensor([1.])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)

    def weigh(self, seen: Guesses) -> Weighted:
        """Ones."""
        return Weighted(torch.ones_like(seen.confidence), seen.probs, seen.probs.new_full((), torch.nan))


class FixedThreshold(ThresholdPolicy):
    """Keeps rows whose confidence is high enough: ``max p >= threshold``.

    FixMatch (Sohn et al., NeurIPS 2020, 2001.07685) uses 0.95.

    Args:
        num_classes: K.
        threshold: the confidence, a fraction.

    Example:
        >>> FixedThreshold(2, 0.8)(torch.tensor([[0.8, 0.2], [0.3, 0.7]]), torch.tensor([0, 1]), step=0).weight
        tensor([1., 0.])
    """

    def __init__(self, num_classes: int, threshold: Fraction = 0.95) -> None:
        super().__init__(num_classes, threshold=threshold)
        self.threshold = threshold

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows at or above the threshold, else 0."""
        threshold = seen.probs.new_full((), self.threshold)
        return Weighted((seen.confidence >= threshold).float(), seen.probs, threshold)


class LinearThreshold(ThresholdPolicy):
    """Keeps rows above a threshold that moves linearly from `start` to `end` and stays there.

    After e whole epochs it is ``start + (end - start) min(e / epochs, 1)``. Within `AllOf` it is a scheduled minimum for
    another policy.

    Args:
        num_classes: K.
        start: the first threshold, a fraction.
        end: the last one, a fraction.
        epochs: number of epochs until `end` is reached.
        steps: the same in training steps instead; None to count epochs.

    Example:
        >>> policy = LinearThreshold(2, start=0.9, end=0.5, epochs=20)
        >>> policy.begin_epoch(10)
        >>> round(policy(torch.tensor([[0.75, 0.25]]), torch.tensor([0]), step=0).threshold.item(), 6)
        0.7
    """

    def __init__(
        self,
        num_classes: int,
        start: Fraction = 0.9,
        end: Fraction = 0.5,
        epochs: AtLeastOne = 100,
        steps: AtLeastOne | None = None,
    ) -> None:
        super().__init__(num_classes, start=start, end=end, epochs=epochs, steps=steps)
        self.start, self.end, self.epochs, self.steps = start, end, epochs, steps

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for rows at or above the threshold of this epoch or step, else 0."""
        passed = self.epoch / self.epochs if self.steps is None else seen.step / self.steps
        threshold = seen.probs.new_full((), self.start + (self.end - self.start) * min(passed, 1.0))
        return Weighted((seen.confidence >= threshold).float(), seen.probs, threshold)
