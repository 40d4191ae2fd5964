"""AutoAugment on uint8 batches, each sample with its own operations, magnitudes and signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from noisylab.transforms.draws import Draws
from noisylab.transforms.policy import BLEND_CENTERS, OPERATIONS, SHIFT_CENTERS, Policy, draw_magnitudes, number_of, two_ways

__all__ = ["CIFAR10_POLICY", "LEVELS", "OPERATIONS", "AutoAugment", "Step"]


class Step(NamedTuple):
    """One operation of a policy: with probability `p`, at magnitude `level` (0..9)."""

    operation: str
    p: float
    level: int


def _levels(start: float, stop: float) -> tuple[float, ...]:
    """Ten evenly spaced magnitudes, rounded as numpy.linspace rounds them."""
    step = (stop - start) / 9
    return (*(i * step + start for i in range(9)), stop)


def _whole(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(round(value)) for value in values)


_NONE = (0.0,) * 10
LEVELS: dict[str, tuple[float, ...]] = {
    "autocontrast": _NONE,
    "brightness": _levels(0, 0.9),
    "color": _levels(0, 0.9),
    "contrast": _levels(0, 0.9),
    "cutout": _whole(_levels(0, 20)),
    "equalize": _NONE,
    "invert": _NONE,
    "posterize": _whole(_levels(8, 4)),
    "rotate": _levels(0, 30),
    "sharpness": _levels(0, 0.9),
    "shearX": _levels(0, 0.3),
    "shearY": _levels(0, 0.3),
    "solarize": _levels(256, 0),
    "translateX": _levels(0, 150 / 331),
    "translateY": _levels(0, 150 / 331),
}
"""The ten magnitudes of each operation: degrees, pixels (cutout), bits, a threshold, a slope, a share of the side, or what is
added to or taken from a blend factor of 1."""

CIFAR10_POLICY: tuple[tuple[Step, Step], ...] = (
    (Step("invert", 0.1, 7), Step("contrast", 0.2, 6)),
    (Step("rotate", 0.7, 2), Step("translateX", 0.3, 9)),
    (Step("sharpness", 0.8, 1), Step("sharpness", 0.9, 3)),
    (Step("shearY", 0.5, 8), Step("translateY", 0.7, 9)),
    (Step("autocontrast", 0.5, 8), Step("equalize", 0.9, 2)),
    (Step("shearY", 0.2, 7), Step("posterize", 0.3, 7)),
    (Step("color", 0.4, 3), Step("brightness", 0.6, 7)),
    (Step("sharpness", 0.3, 9), Step("brightness", 0.7, 9)),
    (Step("equalize", 0.6, 5), Step("equalize", 0.5, 1)),
    (Step("contrast", 0.6, 7), Step("sharpness", 0.6, 5)),
    (Step("color", 0.7, 7), Step("translateX", 0.5, 8)),
    (Step("equalize", 0.3, 7), Step("autocontrast", 0.4, 8)),
    (Step("translateY", 0.4, 3), Step("sharpness", 0.2, 6)),
    (Step("brightness", 0.9, 6), Step("color", 0.2, 8)),
    (Step("solarize", 0.5, 2), Step("invert", 0.0, 3)),
    (Step("equalize", 0.2, 0), Step("autocontrast", 0.6, 0)),
    (Step("equalize", 0.2, 8), Step("equalize", 0.8, 4)),
    (Step("color", 0.9, 9), Step("equalize", 0.6, 6)),
    (Step("autocontrast", 0.8, 4), Step("solarize", 0.2, 8)),
    (Step("brightness", 0.1, 3), Step("color", 0.7, 0)),
    (Step("solarize", 0.4, 5), Step("autocontrast", 0.9, 3)),
    (Step("translateY", 0.9, 9), Step("translateY", 0.7, 9)),
    (Step("autocontrast", 0.9, 2), Step("solarize", 0.8, 3)),
    (Step("equalize", 0.8, 8), Step("invert", 0.1, 3)),
    (Step("translateY", 0.7, 9), Step("autocontrast", 0.9, 1)),
)
"""The 25 sub-policies found on CIFAR-10 (Cubuk et al., CVPR 2019), as the ACT authors' `randaugment` package gives them."""


_WAYS = two_ways(LEVELS, BLEND_CENTERS | SHIFT_CENTERS)
_NUMBER = torch.tensor([[number_of(step.operation) for step in pair] for pair in CIFAR10_POLICY])
_P = torch.tensor([[step.p for step in pair] for pair in CIFAR10_POLICY], dtype=torch.float32)
_LEVEL = torch.tensor([[step.level for step in pair] for pair in CIFAR10_POLICY])


@dataclass(frozen=True)
class AutoAugment(Policy):
    """AutoAugment with the CIFAR-10 policy: each sample draws one of the 25 sub-policies of two operations.

    Operations, probabilities, magnitudes, signs and fill color are those of `CIFAR10Policy` in the `randaugment` package,
    which the authors of ACT use; given the same draws the pictures are equal bit for bit. As there, rotations go one way only.

    Args:
        fill: gray level of pixels from outside the image, 0..255.

    >>> import torch
    >>> images = torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8).expand(4, 3, 8, 8)
    >>> AutoAugment()(images, Draws(0, torch.arange(4))).shape
    torch.Size([4, 3, 8, 8])
    """

    fill: int = 128

    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """One sub-policy for each sample."""
        chosen = draws.integers(0, len(CIFAR10_POLICY))
        operation = torch.where(draws.uniform(shape=(2,)) < _P[chosen], _NUMBER[chosen], 0)
        return operation, draw_magnitudes(operation, _LEVEL[chosen], _WAYS, draws)
