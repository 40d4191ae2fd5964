"""The most confident share of each batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from noisylab.arguments import AtLeastOne, Fraction, Positive
from noisylab.selection.thresholds.policy import Guesses, ThresholdPolicy, Weighted

__all__ = ["PercentileThreshold", "most_confident"]


class PercentileThreshold(ThresholdPolicy):
    """The ``floor(B a)`` most confident of B rows; of rows that are equally confident those that come first.

    The share a is an accuracy, so that a network that is right more often learns from more rows, or rises on a straight line, as
    in curriculum labeling. The threshold in the log is the confidence of the last row that is kept, NaN where none is.

    Which accuracy "the last" is, that of the running epoch or of the one before, is the method's to say. Where it is the
    accuracy on held-out rows, their labels decide what is trained on: such a run is to be judged on test rows alone.

    Args:
        num_classes: K.
        by: what a is: the accuracy on the labeled "train" rows, that on held-out rows ("validation"), the "mean" of both, or a
            line over the "epoch" or the "step".
        factor: the accuracy is multiplied with, positive; the product is at most 1.
        initial: accuracy where none is known yet, a fraction; at 0 the first epoch learns from labeled rows alone.
        start: a at the beginning of the line, a fraction; only with "epoch" or "step".
        end: a from its end on, a fraction.
        length: of the line, in epochs or steps.

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
        """Whether the accuracy on held-out rows is one of those it goes by."""
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
    """Exactly `count` rows of the largest confidence; of equal ones those that come first.

    Args:
        confidence: (B,) float, B at least 1.
        count: () int64, 0..B, on the device of `confidence`: it is not read back.

    Returns:
        (B,) bool, and the () smallest confidence among them, NaN where there are none.
    """
    falling, order = confidence.sort(descending=True, stable=True)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    smallest = falling.gather(0, (count - 1).clamp(min=0)[None])[0]
    return place < count, torch.where(count > 0, smallest, torch.nan)
