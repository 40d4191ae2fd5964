"""The interface of a training loss, for methods that accept any loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["Criterion", "LossFactory"]


class Criterion(ABC):
    """A loss for each sample from its logits and given label; subclasses override methods for anything more.

    A child states ``__call__``. The other parts have a meaning of their own as they stand here: no pairs, no prior, all samples
    kept. `noisylab.methods.RobustLoss` trains with any child. A criterion has no state: what is remembered is the method's.

    Attributes:
        uses_prior: whether `of_prior` is to be added, with the shares of the given labels among the samples last kept.
        selection: how samples are left out. "none"; "sieve": each batch by `keeps`, in the epochs of `sieves_in`; "scoring": by
            `keeps` for all training rows, without augmentation, before the epochs of `scores_before`. The mean loss is that over
            the samples kept with "sieve", and over all samples, with 0 for those left out, with "scoring".
    """

    uses_prior: ClassVar[bool] = False
    selection: ClassVar[Literal["none", "sieve", "scoring"]] = "none"

    @abstractmethod
    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,) in at least float32.

        Args:
            logits: (B, K) float, unnormalized.
            target: (B,) int64 given labels.
        """

    def pairs_in(self, epoch: int) -> bool:
        """Whether `of_pairs` is added in an epoch, counted from 0 over the whole run."""
        return False

    def of_pairs(self, logits: Tensor, target: Tensor, epoch: int) -> Tensor:
        """(M,) losses whose mean is added, for independently drawn inputs and labels; zeros by default.

        Args:
            logits: (M, K) float of samples drawn at random.
            target: (M,) int64 given labels of other samples drawn at random.
            epoch: counted from 0.
        """
        return torch.zeros_like(target, dtype=torch.promote_types(logits.dtype, torch.float32))

    def of_prior(self, logits: Tensor, prior: Tensor, epoch: int) -> Tensor:
        """(B,) terms added to the losses, from the frequencies of the given labels; zeros by default.

        Args:
            logits: (B, K) float, unnormalized.
            prior: (K,) float, sum 1.
            epoch: counted from 0.
        """
        return torch.zeros_like(logits[:, 0], dtype=torch.promote_types(logits.dtype, torch.float32))

    def sieves_in(self, epoch: int) -> bool:
        """Whether an epoch trains only on the samples of each batch that `keeps` chooses; only with "sieve"."""
        return False

    def scores_before(self, epoch: int) -> bool:
        """Whether all rows are reselected before an epoch; only with "scoring"."""
        return False

    def keeps(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B,) bool, the samples to train on, from logits (B, K) and given labels (B,); all by default."""
        return torch.ones_like(target, dtype=torch.bool)


LossFactory: TypeAlias = Callable[[], Criterion]
"""Returns a criterion: a class, or a partial of one with arguments."""
