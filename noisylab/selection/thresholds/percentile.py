"""The most confident share of each batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from noisylab.arguments import AtLeastOne, Fraction, Positive
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["PercentileThreshold", "most_confident"]


class PercentileThreshold(ThresholdPolicy):
    """Keeps the ``floor(B a)`` most confident of B rows; among equally confident rows, the first ones.

    The share a is an accuracy, so that a network that is right more often learns from more rows; or it rises linearly, as in
    curriculum labeling. The logged threshold is the confidence of the last row that is kept, NaN if none is.

    The method decides whether the accuracy is that of the current epoch or of the previous one. If it is the accuracy on held-out
    rows, their labels decide what is trained on: judge such a run on test rows only.

    Args:
        num_classes: K.
        by: what a is: the accuracy on the labeled "train" rows, that on held-out rows ("validation"), the "mean" of both, or a
            linear ramp over the "epoch" or the "step".
        factor: factor on the accuracy, positive; the product is capped at 1.
        initial: accuracy assumed until one is known, a fraction; at 0 the first epoch learns from labeled rows only.
        start: a at the start of the ramp, a fraction; only with "epoch" or "step".
        end: a at the end of the ramp and after it, a fraction.
        length: length of the ramp, in epochs or steps.

    Example:
        >>> policy = PercentileThreshold(2)
        >>> policy.begin_epoch(1, acc_train=torch.tensor(0.7))
        >>> probs = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
        >>> policy(probs, torch.arange(3), step=0).weight
        tensor([1., 0., 1.])
    """

    def __init__(
        self,
        num_classes: int,
        by: Literal["train", "validation", "mean", "epoch", "step"] = "train",
        factor: Positive = 1.0,
        initial: Fraction = 0.0,
        start: Fraction = 0.0,
        end: Fraction = 1.0,
        length: AtLeastOne = 100,
    ) -> None:
        given = {"by": by, "factor": factor, "initial": initial, "start": start, "end": end, "length": length}
        super().__init__(num_classes, **given)
        self.by, self.factor, self.start, self.end, self.length = by, factor, start, end, length
        if by in ("train", "mean"):
            self.add("accuracy_train", initial)
        if by in ("validation", "mean"):
            self.add("accuracy_validation", initial)

    @property
    def needs_validation(self) -> bool:
        """Whether the share depends on the accuracy on held-out rows."""
        return self.by in ("validation", "mean")

    def weigh(self, seen: Guesses) -> Weighted:
        """1 for the most confident rows, else 0."""
        share = self._share(seen).clamp(max=1)
        # an accuracy that float32 cannot hold, such as 0.29 of 100 rows, must not lose a row by its last digit
        count = (share * len(seen.probs) * (1 + 2**-22)).floor().long()
        kept, threshold = most_confident(seen.confidence, count)
        return Weighted(kept.float(), seen.probs, threshold)

    def _share(self, seen: Guesses) -> Tensor:
        if self.by in ("epoch", "step"):
            passed = min((self.epoch if self.by == "epoch" else seen.step) / self.length, 1.0)
            return seen.probs.new_full((), self.start + (self.end - self.start) * passed)
        names = ("train", "validation") if self.by == "mean" else (self.by,)
        return torch.stack([self[f"accuracy_{name}"] for name in names]).mean() * self.factor


def most_confident(confidence: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Exactly `count` rows with the largest confidence; among equal ones, the first.

    Args:
        confidence: (B,) float, B at least 1.
        count: () int64, 0..B, on the device of `confidence`: it is not read back.

    Returns:
        (B,) bool, and the () smallest confidence among the chosen rows, NaN if there are none.
    """
    falling, order = confidence.sort(descending=True, stable=True)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    smallest = falling.gather(0, (count - 1).clamp(min=0)[None])[0]
    return place < count, torch.where(count > 0, smallest, torch.nan)
