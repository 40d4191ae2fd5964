"""RandAugment on uint8 batches, in the four variants that published code uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from noisylab.arguments import AtLeastOne, Fraction, Range, check_arguments
from noisylab.transforms.autoaugment import LEVELS
from noisylab.transforms.draws import Draws
from noisylab.transforms.policy import BLEND_CENTERS, SHIFT_CENTERS, Policy, draw_magnitudes, number_of, two_ways

__all__ = ["Convention", "FixMatchStrong", "RandAugment"]

Convention = Literal["torchvision", "fixmatch", "ildoonet", "act"]
Byte = Annotated[int, Range(0, 255, whole=True)]
Level = Annotated[int, Range(0, 30, whole=True)]

_BLENDS = ("brightness", "color", "contrast", "sharpness")
_HIGHEST = {"torchvision": 30, "fixmatch": 10, "ildoonet": 30, "act": 9}
_TURNED = dict.fromkeys(("rotate", "translateX", "translateY", "shearXNearest", "shearYNearest"), 0.0)


def _torchvision_levels() -> dict[str, tuple[float, ...]]:
    """31 magnitudes of each operation, as torch rounds them to float32; those of blends are what is added to 1."""

    def line(start: float, stop: float) -> tuple[float, ...]:
        return tuple(torch.linspace(start, stop, 31).tolist())

    none, shear, share = (0.0,) * 31, line(0, 0.3), tuple(150 / 331 * level / 30 for level in range(31))
    return {
        "identity": none,
        "shearXNearest": shear,
        "shearYNearest": shear,
        "translateX": share,
        "translateY": share,
        "rotate": line(0, 30),
        **dict.fromkeys(_BLENDS, line(0, 0.9)),
        "posterize": tuple((8 - (torch.arange(31) / 7.5).round()).tolist()),
        "solarize": line(255, 0),
        "autocontrast": none,
        "equalize": none,
    }


def _ildoonet_levels() -> dict[str, tuple[float, ...]]:
    """31 magnitudes of each operation; translations and the side of the square in pixels."""

    def line(low: float, high: float) -> tuple[float, ...]:
        return tuple(level / 30 * (high - low) + low for level in range(31))

    none, shear, pixels = (0.0,) * 31, line(0, 0.3), line(0, 100)
    return {
        "autocontrast": none,
        "equalize": none,
        "invert": none,
        "rotate": line(0, 30),
        "posterize": tuple(float(max(1, int(bits))) for bits in line(0, 4)),
        "solarize": line(0, 256),
        "solarizeAdd": line(0, 110),
        **dict.fromkeys(_BLENDS, line(0.1, 1.9)),
        "shearXNearest": shear,
        "shearYNearest": shear,
        "square": line(0, 40),
        "translateX": pixels,
        "translateY": pixels,
    }


def _fixmatch_levels() -> dict[str, tuple[float, ...]]:
    """Eleven magnitudes of each operation, of which 1 to 9 are in use, and the gray square; sides as shares."""
    none, slopes = (0.0,) * 11, tuple(level * 0.3 / 10 for level in range(11))
    return {
        "autocontrast": none,
        **dict.fromkeys(_BLENDS, tuple(level * 0.9 / 10 + 0.05 for level in range(11))),
        "equalize": none,
        "identity": none,
        "posterize": tuple(float(4 + int(level * 4 / 10)) for level in range(11)),
        "rotate": tuple(float(int(level * 30 / 10)) for level in range(11)),
        "shearXNearest": slopes,
        "shearYNearest": slopes,
        "solarize": tuple(float(256 - int(level * 256 / 10)) for level in range(11)),
        "translateX": slopes,
        "translateY": slopes,
    }


class _Space(NamedTuple):
    """The operations that are drawn from, and their magnitudes as `two_ways` gives them."""

    number: Tensor
    ways: Tensor


@lru_cache(maxsize=4)
def _space(convention: Convention) -> _Space:
    levels = {
        "torchvision": _torchvision_levels,
        "fixmatch": _fixmatch_levels,
        "ildoonet": _ildoonet_levels,
        "act": lambda: LEVELS,
    }[convention]()
    turned = {"torchvision": _TURNED | BLEND_CENTERS, "act": SHIFT_CENTERS | BLEND_CENTERS}.get(convention, _TURNED)
    with torch.inference_mode(False):
        return _Space(torch.tensor([number_of(name) for name in levels]), two_ways(levels, turned))


@dataclass(frozen=True)
class RandAugment(Policy):
    """Each sample undergoes `n` operations drawn with replacement, at level `m`.

    **Paper**: Cubuk, Zoph, Shlens and Le, "RandAugment: Practical automated data augmentation with a reduced search space",
    NeurIPS 2020, https://arxiv.org/abs/1909.13719. Published code interprets the two numbers in four ways, and results cannot be
    compared across conventions:

    - "torchvision": 14 operations, always applied, m in 0..30 of ranges that all start at no change, relative to the side of
      the image. The sign of blends is drawn at random, as is that of shears, translations and rotations.
    - "fixmatch" (`RandAugmentMC` of kekmodel/FixMatch-pytorch): 14 operations, each applied with probability 1/2 at a level drawn
      from 1..m-1 of ten, so on average one of two is applied; then a gray square of half the side is always painted. Its end is
      counted from its clipped start and is painted, too, so in images of 32 pixels it has 17 and is never cut off at the upper
      and left border. With m below 2 there is no level to draw, and only the square is painted.
    - "ildoonet" (ildoonet/pytorch-randaugment): 16 operations, always applied, m in 0..30. Translations and squares are in
      pixels of large images: (2, 9) moves an image of 32 pixels by 30.
    - "act" (the package `randaugment`): its 15 operations, each with probability 1/2; m in 0..9, or `None` to draw the level
      of each from 1..9.

    A larger m is not always stronger. In "ildoonet", posterize (0 to 4 bits are kept, here at least 1), solarize (its threshold
    rises) and the blends (factor 0.1 at level 0, no change at 15) become weaker, so (2, 3) is not milder than (2, 9). In
    "fixmatch", higher levels make posterize and the blends milder. In "torchvision" and "act", all operations grow with m, but
    autocontrast and equalize have no level, and (2, 0) still applies them.

    With one channel, color changes nothing, as in PIL. All conventions but "act" shear by the nearest pixel.

    **Differences**: pixels from outside the image are gray by default; the three published implementations use black, `fill` 0.
    The square of "fixmatch" grows with the image; that code uses 16 pixels for every size. The center of the "ildoonet" square
    is anywhere in the image; there, from 1 on.

    Args:
        n: operations per sample.
        m: level of the operations: up to 30 in "torchvision" and "ildoonet", 10 in "fixmatch", 9 in "act".
        convention: which variant of RandAugment.
        p: probability of each operation; `None` for that of the convention.
        fill: gray level of pixels from outside the image, 0..255.
        rise_every: epochs after which the level rises by one, from 0 up to `m`; `None` for level `m` from the first epoch on.

    Raises:
        ValueError: for a value out of range.

    >>> import torch
    >>> images = torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8).expand(4, 3, 8, 8)
    >>> RandAugment(2, 5)(images, Draws(0, torch.arange(4))).shape
    torch.Size([4, 3, 8, 8])
    >>> [RandAugment(m=9, rise_every=10).at(epoch).m for epoch in (0, 9, 10, 89, 90, 200)]
    [0, 0, 1, 8, 9, 9]
    """

    n: AtLeastOne = 2
    m: Level | None = 9
    convention: Convention = "torchvision"
    p: Fraction | None = None
    fill: Byte = 127
    rise_every: AtLeastOne | None = None

    def __post_init__(self) -> None:
        check_arguments(type(self), {name: getattr(self, name) for name in self.__dataclass_fields__})
        highest = _HIGHEST[self.convention]
        if self.m is None and (self.convention != "act" or self.rise_every is not None):
            raise ValueError(
                f'{self}: m may be None only with convention="act" and without rise_every; give a level of 0..{highest}'
            )
        if self.m is not None and self.m > highest:
            raise ValueError(f'{self}: m must be in 0..{highest} with convention="{self.convention}"')

    def at(self, epoch: int) -> RandAugment:
        """The policy at the level of an epoch."""
        if self.rise_every is None or self.m is None:
            return self
        return replace(self, m=min(self.m, epoch // self.rise_every), rise_every=None)

    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """`n` operations for each sample and, in FixMatch's variant, the square."""
        space, shape = _space(self.convention), (self.n,)
        number = space.number[draws.integers(0, len(space.number), shape)]
        p = self.p if self.p is not None else {"fixmatch": 0.5, "act": 0.5}.get(self.convention, 1.0)
        operation = number if p == 1 else torch.where(draws.bernoulli(p, shape), number, 0)
        if self.m is None:
            level = draws.integers(1, 10, shape)
        elif self.convention == "fixmatch":
            level = draws.integers(1, max(self.m, 2), shape)
            operation = operation if self.m > 1 else torch.zeros_like(operation)
        else:
            level = torch.full_like(number, self.m)
        magnitude = draw_magnitudes(operation, level, space.ways, draws)
        if self.convention != "fixmatch":
            return operation, magnitude
        square = torch.full((len(draws), 1), number_of("graySquare"))
        return torch.cat([operation, square], 1), torch.cat([magnitude, torch.full((len(draws), 1), 0.5).double()], 1)

    def in_pixels(self, operation: Tensor, magnitude: Tensor, size: tuple[int, int]) -> Tensor:
        """Translations by whole pixels, again as shares of the side, and the side of the square of FixMatch."""
        if self.convention == "act":
            return magnitude
        for name, side in zip(("translateY", "translateX"), size, strict=True):
            pixels = magnitude if self.convention == "ildoonet" else (magnitude * side).trunc()
            magnitude = torch.where(operation == number_of(name), pixels / side, magnitude)
        return torch.where(operation == number_of("graySquare"), magnitude * min(size), magnitude)


@dataclass(frozen=True)
class FixMatchStrong(RandAugment):
    """The strong view of FixMatch: two operations at drawn levels, each with probability 1/2, then a gray square.

    `RandAugment` with the settings of kekmodel/FixMatch-pytorch (Sohn et al., NeurIPS 2020): pixels from outside are black.

    Args:
        n: operations per sample.
        m: levels are drawn from 1..m-1.
        convention: "fixmatch".
        p: probability of each operation; `None` for 1/2.
        fill: gray level of pixels from outside the image, 0..255.
        rise_every: epochs after which `m` rises by one, from 0; `None` for `m` from the first epoch on.
    """

    m: Level | None = 10
    convention: Convention = "fixmatch"
    fill: Byte = 0
