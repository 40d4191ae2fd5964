"""AugMix on uint8 batches: a random mixture of chains of operations, without rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from noisylab.arguments import AtLeastOne, Positive, Range, check_arguments
from noisylab.transforms.base import StrongView, blocks, to_device
from noisylab.transforms.draws import Draws
from noisylab.transforms.policy import apply_plan, check_pixels, number_of

__all__ = ["AugMix"]

_NINE = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotateBilinear",
    "solarize",
    "shearXBilinear",
    "shearYBilinear",
    "translateX",
    "translateY",
)
_BLENDS = ("color", "contrast", "brightness", "sharpness")
_SIGNED = ("rotateBilinear", "shearXBilinear", "shearYBilinear", "translateX", "translateY")
_DEEPEST = 3  # of the chains whose depth is drawn
Severity = Annotated[float, Range(0.1, 10)]


@dataclass(frozen=True)
class AugMix(StrongView):
    """``(1 - m) x + m sum_i w_i chain_i(x)``: the image mixed with `width` chains of operations on it.

    w is drawn from Dirichlet(alpha, ...) and m from Beta(alpha, alpha). Each operation of a chain is drawn with equal probability
    from nine, or 13, at its own level l of ten, uniform between 0.1 and `severity`: posterize to 4 - int(0.4 l) bits, rotate by
    int(3 l) degrees, solarize from 256 - int(25.6 l) on, shear by 0.03 l, translate by int(l side / 30) pixels, blend by a factor
    of 0.1 + 0.18 l. Rotations and shears are bilinear; pixels from outside are black.

    **Paper**: Hendrycks, Mu, Cubuk, Zoph, Gilmer and Lakshminarayanan, "AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty", ICLR 2020, https://arxiv.org/abs/1912.02781. **Authors' code**: `cifar.py` and `augmentations.py`
    of https://github.com/google-research/augmix. There, the image is normalized first, which gives the same result, since the
    weights add up to 1. As there, the mixture is not rounded to whole gray levels; torchvision's `AugMix` rounds it.

    **Differences**: the image may have any side, not only 32. Training with `noisylab.losses.jensen_shannon` takes the
    views "weak", "strong", "strong", each with its own crop and flip; the authors mix two views of one crop.

    Args:
        width: number of chains.
        depth: operations per chain; `None` draws it for each chain from 1 to 3.
        alpha: parameter of both distributions.
        severity: the highest level, 0.1 to 10.
        all_ops: whether to also use color, contrast, brightness and sharpness, which overlap with the corruptions that robustness
            is tested with.

    >>> import torch
    >>> images = torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8).expand(4, 3, 8, 8)
    >>> AugMix()(images, Draws(0, torch.arange(4))).dtype
    torch.float32
    """

    width: AtLeastOne = 3
    depth: AtLeastOne | None = None
    alpha: Positive = 1.0
    severity: Severity = 3.0
    all_ops: bool = False

    def __post_init__(self) -> None:
        check_arguments(type(self), {name: getattr(self, name) for name in self.__dataclass_fields__})

    def plan(self, draws: Draws, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """What each sample undergoes, from draws on the host.

        Args:
            draws: of B samples.
            size: height and width of the images.

        Returns:
            operation: (B, width, D) int64 numbers of operations, 0 for none; D is the depth of the deepest chain.
            magnitude: (B, width, D) float64.
            share: (B, 1 + width) float32, of the image and of each chain, which add up to 1.
        """
        deepest = _DEEPEST if self.depth is None else self.depth
        shape = (self.width, deepest)
        names = (*_NINE, *_BLENDS) if self.all_ops else _NINE
        drawn = draws.integers(0, len(names), shape)
        level = draws.uniform(shape=shape).double() * (self.severity - 0.1) + 0.1
        sign = 1.0 - 2.0 * draws.bernoulli(0.5, shape)
        magnitude = torch.zeros_like(level)
        for number, name in enumerate(names):
            value = _magnitude(name, level, size)
            magnitude = torch.where(drawn == number, value * sign if name in _SIGNED else value, magnitude)
        operation = torch.tensor([number_of(name) for name in names])[drawn]
        depth = draws.integers(1, _DEEPEST + 1, (self.width,)) if self.depth is None else torch.tensor(self.depth)
        operation = torch.where(torch.arange(deepest) < depth[..., None], operation, 0)
        return operation, magnitude, self._shares(draws)

    def _shares(self, draws: Draws) -> Tensor:
        # Draws of a Dirichlet, and of a Beta, are gammas over their sum.
        gammas = _gamma(self.alpha, draws.uniform(shape=(self.width + 2,)).double())
        weight, mixed = _over_sum(gammas[:, 2:]), _over_sum(gammas[:, :2])
        return torch.cat([mixed[:, :1], mixed[:, 1:] * weight], 1).float()

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The mixtures, (B, C, H, W) float32 in [0, 1], C = 1 or 3."""
        check_pixels(self, x)
        operation, magnitude, share = self.plan(draws.on_host(), (int(x.shape[-2]), int(x.shape[-1])))
        rows, width, deepest = operation.shape
        chains = x.repeat_interleave(width, 0)
        plan = operation.view(rows * width, deepest), magnitude.view(rows * width, deepest)
        chains = apply_plan(chains, *plan, torch.zeros(rows * width, deepest, 2), fill=0).view(rows, width, *x.shape[1:])
        shares = to_device(share, x.device).view(rows, 1 + width, 1, 1, 1)
        result = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        for block in blocks(x):
            # One product and one sum after the other: the order must not depend on the batch's shape.
            mixed = result[block].copy_(x[block]).mul_(shares[block, 0])
            for number in range(width):
                mixed.add_(chains[block, number].float().mul_(shares[block, number + 1]))
            mixed.div_(255.0)
        return result


def _magnitude(name: str, level: Tensor, size: tuple[int, int]) -> Tensor:
    """What an operation takes at float64 levels out of ten; translations as shares of the side."""
    if name in _BLENDS:
        return level * 1.8 / 10 + 0.1
    if name == "posterize":
        return 4 - (level * 4 / 10).trunc()
    if name == "rotateBilinear":
        return (level * 30 / 10).trunc()
    if name == "solarize":
        return 256 - (level * 256 / 10).trunc()
    if name.startswith("shear"):
        return level * 0.3 / 10
    if name.startswith("translate"):
        side = size[1] if name == "translateX" else size[0]
        return (level * (side / 3) / 10).trunc() / side
    return torch.zeros_like(level)


def _gamma(alpha: float, u: Tensor) -> Tensor:
    """The quantiles of Gamma(alpha, 1) at float64 u in [0, 1): one uniform number makes one draw, whatever alpha is."""
    if alpha == 1:
        return -torch.log1p(-u)
    shape = torch.full_like(u, alpha)
    low, high = torch.full_like(u, -700.0), torch.full_like(u, math.log(alpha + 10 * alpha**0.5 + 40))  # of the logarithm
    for _ in range(64):
        middle = (low + high) / 2
        above = torch.special.gammainc(shape, middle.exp()) > u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high.exp()


def _over_sum(gammas: Tensor) -> Tensor:
    total = gammas.sum(1, keepdim=True)
    return torch.where(total > 0, gammas / total.clamp(min=torch.finfo(torch.float64).tiny), 1 / gammas.shape[1])
