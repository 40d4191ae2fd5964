"""Views of feature vectors (B, D), drawn per sample; the result is float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisylab.transforms.base import View, constant
from noisylab.transforms.draws import Draws

__all__ = ["FeatureDropout", "FeatureIdentity", "FeatureNoise", "FeatureScale", "Standardize"]


@dataclass(frozen=True)
class FeatureIdentity(View):
    """The features as float32."""

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """`x` itself if it is float32 already."""
        return x.float()


@dataclass(frozen=True)
class FeatureNoise(View):
    """Add independent normal noise to every feature.

    Args:
        std: standard deviation, in units of the features: scale them to unit variance first.
    """

    std: float

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        return draws.normal(tuple(x.shape[1:])).mul_(self.std).add_(x)


@dataclass(frozen=True)
class FeatureScale(View):
    """Multiply a sample's features by one factor drawn uniformly.

    Args:
        low: smallest factor.
        high: largest factor.
    """

    low: float
    high: float

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        return x.float() * draws.uniform(self.low, self.high).view(-1, *(1,) * (x.dim() - 1))


@dataclass(frozen=True)
class FeatureDropout(View):
    """Set each feature to zero with probability `p` and divide the others by 1 - p, which keeps the expected value.

    Args:
        p: probability, in [0, 1).

    Raises:
        ValueError: for another `p`.
    """

    p: float

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise ValueError(f"FeatureDropout(p={self.p}): p must lie in [0, 1).")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        dropped = draws.bernoulli(self.p, tuple(x.shape[1:]))
        return (x.float() / (1 - self.p)).masked_fill_(dropped, 0)


@dataclass(frozen=True)
class Standardize(View):
    """(feature - mean) / std of every feature, as float32.

    Args:
        mean: (D) one value for each feature.
        std: (D) likewise, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        middle, width = (constant(values, torch.float32, x.device) for values in (self.mean, self.std))
        return x.float().sub(middle).div_(width)
