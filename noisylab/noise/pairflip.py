"""Pair-flip noise: a wrong label is always the next class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisylab.noise.base import Noise, Sampler, check_num_classes

__all__ = ["PairFlip"]


class PairFlip(Noise):
    """Class i becomes class (i + 1) mod C with probability `rate` and keeps its label otherwise.

    The own class cannot be drawn as the noisy one. From a rate of one half on, the true class is no longer the most
    frequent one behind a given label.

    Args:
        rate: probability of the next class, a fraction in [0, 1).
        sampler: see `Noise`.
        seed: seed of the draws.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import torch
        >>> PairFlip(0.4, sampler="legacy")(torch.arange(10), num_classes=10).given_target.tolist()
        [0, 2, 2, 3, 5, 6, 6, 8, 8, 0]
    """

    kind = "pairflip"

    def __init__(self, rate: float, sampler: Sampler = "vectorized", seed: int = 0) -> None:
        super().__init__(rate, sampler, seed)
        self.rate: float = rate

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """(C, C) float64: `1 - rate` on the diagonal, `rate` to its right, the last class going to the first."""
        check_num_classes(num_classes)
        own = torch.eye(num_classes, dtype=torch.float64)
        return (1.0 - self.rate) * own + self.rate * own.roll(1, dims=1)
