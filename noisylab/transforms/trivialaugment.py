"""TrivialAugment on uint8 batches: one operation for each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisylab.transforms.draws import Draws
from noisylab.transforms.policy import SHIFT_CENTERS, Policy, draw_magnitudes, number_of, two_ways

__all__ = ["TRIVIAL_LEVELS", "TRIVIAL_WIDE_LEVELS", "TrivialAugment"]


def _trivial(shear: float, translate: int, rotate: int, bits: int, blend: tuple[float, float]) -> dict[str, tuple[float, ...]]:
    """The 31 magnitudes of each operation of TrivialAugment, cut to whole pixels, degrees, bits and thresholds as published."""
    low, high = blend
    blends = tuple(level * (high - low) / 30 + low for level in range(31))
    shears = tuple(level * shear / 30 for level in range(31))
    shares = tuple(int(level * translate / 30) / 32 for level in range(31))
    return {
        "identity": (0.0,) * 31,
        "autocontrast": (0.0,) * 31,
        "equalize": (0.0,) * 31,
        "rotate": tuple(float(int(level * rotate / 30)) for level in range(31)),
        "solarize": tuple(float(256 - int(level * 256 / 30)) for level in range(31)),
        "color": blends,
        "posterize": tuple(float(8 - int(level * (8 - bits) / 30)) for level in range(31)),
        "contrast": blends,
        "brightness": blends,
        "sharpness": blends,
        "shearX": shears,
        "shearY": shears,
        "translateX": shares,
        "translateY": shares,
    }


TRIVIAL_LEVELS = _trivial(shear=0.3, translate=10, rotate=30, bits=4, blend=(0.1, 1.9))
"""The 14 operations of TrivialAugment and the 31 magnitudes of each in RandAugment's ranges, as `LEVELS` gives them; blends are
whole factors."""

TRIVIAL_WIDE_LEVELS = _trivial(shear=0.99, translate=32, rotate=135, bits=2, blend=(0.01, 2.0))
"""The same in the paper's wide ranges."""

_SIGNED = SHIFT_CENTERS | {"rotate": 0.0}
_WAYS, _WIDE_WAYS = two_ways(TRIVIAL_LEVELS, _SIGNED), two_ways(TRIVIAL_WIDE_LEVELS, _SIGNED)
_NUMBER = torch.tensor([number_of(name) for name in TRIVIAL_LEVELS])


@dataclass(frozen=True)
class TrivialAugment(Policy):
    """TrivialAugment: each sample undergoes one of 14 operations, all equally likely, at one of 31 equally likely levels.

    **Paper**: Mueller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021,
    https://arxiv.org/abs/2103.10158. **Authors' code**: `aug_lib.py` of https://github.com/automl/trivialaugment at
    d913075cf45cb6cfa396ab37978f3b71fd425e69, its search spaces "wide_standard" and "fixed_standard".

    **Differences** from that code: the operations are those of `noisylab.transforms.ops`, so shears interpolate with PIL's cubic
    filter, while the authors' code takes the nearest pixel. A translation is a share of the side, which for sides of 32 is the
    published number of pixels. torchvision's `TrivialAugmentWide` differs from both: its blends are 1 plus or minus up to 0.99
    with a random sign instead of 0.01 to 2; it keeps fractions of degrees, solarizes below a threshold of 255 instead of 256, and
    rounds the number of bits kept by posterize, where the authors round up; its shears also take the nearest pixel.

    Args:
        wide: whether to use the paper's wide ranges; `False` uses those of RandAugment.
        fill: gray level of pixels from outside the image, 0..255.

    >>> import torch
    >>> images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(4, 1, 8, 8)
    >>> TrivialAugment()(images, Draws(0, torch.arange(4))).shape
    torch.Size([4, 1, 8, 8])
    """

    wide: bool = True
    fill: int = 0

    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """One operation for each sample."""
        operation = _NUMBER[draws.integers(0, len(TRIVIAL_LEVELS), (1,))]
        level = draws.integers(0, 31, (1,))
        return operation, draw_magnitudes(operation, level, _WIDE_WAYS if self.wide else _WAYS, draws)
