"""Symmetric noise: a wrong label is equally likely to be any class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisylab.noise.base import Noise, Sampler, check_num_classes

__all__ = ["Symmetric"]


class Symmetric(Noise):
    """Symmetric noise, in either of its two definitions.

    With C classes and rate r,

    - `own_class=False` (T-Revision, VolMinNet, DMI, ACT): the label is wrong with probability r, and any other class
      is drawn with probability r / (C - 1);
    - `own_class=True` (DivideMix, ELR, Joint Optimization, IEG): with probability r the label is redrawn uniformly
      from all C classes, the true one included, so that only r (C - 1) / C of the labels come out wrong.

    Args:
        rate: r, a fraction in [0, 1).
        own_class: whether the true class can be drawn as the noisy one.
        sampler: see `Noise`.
        seed: seed of the draws.
        exact: disturb exactly `round(r * N)` rows, chosen without replacement (DivideMix and Joint Optimization do so),
            where otherwise each row is disturbed independently. Needs the vectorized sampler.

    Raises:
        ValueError: an argument lies outside its range, or `exact` is asked of the legacy sampler.

    Example:
        >>> import torch
        >>> noisy = Symmetric(0.4, sampler="legacy")(torch.arange(10), num_classes=10)
        >>> noisy.given_target.tolist(), noisy.measured_rate
        ([0, 1, 2, 2, 8, 2, 9, 7, 8, 5], 0.5)
    """

    kind = "symmetric"

    def __init__(
        self,
        rate: float,
        own_class: bool = False,
        sampler: Sampler = "vectorized",
        seed: int = 0,
        exact: bool = False,
    ) -> None:
        super().__init__(rate, sampler, seed)
        if exact and sampler == "legacy":
            raise ValueError("exact=True needs sampler='vectorized', got 'legacy', which draws row by row; change one")
        self.rate: float = rate
        self.own_class = own_class
        self.exact = exact

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """(C, C) float64: `rate / (C - 1)` off the diagonal, or `rate / C` when the own class can be drawn."""
        check_num_classes(num_classes)
        others = num_classes if self.own_class else num_classes - 1
        matrix = torch.full((num_classes, num_classes), self.rate / others, dtype=torch.float64)
        own = 1.0 - self.rate * (num_classes - 1) / num_classes if self.own_class else 1.0 - self.rate
        return matrix.fill_diagonal_(own)

    def _draw(self, clean: Tensor, matrix: Tensor) -> Tensor:
        if not self.exact:
            return super()._draw(clean, matrix)
        generator = torch.Generator("cpu").manual_seed(self.seed)
        rows = torch.randperm(len(clean), generator=generator)[: round(self.rate * len(clean))]
        # A shift of 0 is the own class.
        shift = torch.randint(0 if self.own_class else 1, len(matrix), (len(rows),), generator=generator)
        given = clean.clone()
        given[rows] = (clean[rows] + shift) % len(matrix)
        return given
