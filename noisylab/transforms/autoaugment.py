"""AutoAugment and RandAugment on uint8 batches, each sample with its own operations, magnitudes and signs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from noisylab.transforms import ops
from noisylab.transforms.base import View, constant
from noisylab.transforms.draws import Draws

__all__ = ["CIFAR10_POLICY", "LEVELS", "OPERATIONS", "AutoAugment", "RandAugment", "Step"]


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

OPERATIONS: tuple[str, ...] = tuple(LEVELS)
"""Names of the operations. The place in this tuple plus one is the operation's number; 0 does nothing."""

_PLAIN = {"autocontrast": ops.autocontrast, "equalize": ops.equalize, "invert": ops.invert}
_TABLES = {"posterize": ops.posterize, "solarize": ops.solarize}
_BLENDS = {"brightness": ops.brightness, "color": ops.color, "contrast": ops.contrast, "sharpness": ops.sharpness}
_SHIFTS = {
    "shearX": ops.shear_x,
    "shearY": ops.shear_y,
    "translateX": ops.translate_x,
    "translateY": ops.translate_y,
}

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


class _Policy(View):
    """Applies, step by step, the operations that a subclass draws.

    Samples are grouped by operation: in each step one call of each operation, on the samples that drew it. The sizes of the
    groups are read back from the device, once a call.
    """

    fill: int

    @abstractmethod
    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """What each sample undergoes, in S steps.

        Returns:
            operation: (B, S) int64, numbers of operations in the order of application, 0 for none.
            magnitude: (B, S) float64, as the functions of `noisylab.transforms.ops` take it; arbitrary where none is taken.
        """

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The augmented images, (B, 3, H, W) uint8."""
        if x.dtype != torch.uint8 or x.dim() != 4 or x.shape[1] != 3:
            raise TypeError(
                f"{self} takes (B, 3, H, W) uint8 images, not {tuple(x.shape)} {x.dtype}: "
                "put it before Normalize or ToFloat, and use Contrast and GaussianNoise for images of other channel counts."
            )
        operation, magnitude = self.plan(draws)
        sides = constant(tuple(x.shape[-2:]), torch.float32, x.device)
        # Drawn for every sample, although only cutout needs a place: the number of draws must not depend on the plan.
        place = (draws.uniform(shape=(operation.shape[1], 2)) * sides).long()
        numbers = torch.arange(len(OPERATIONS) + 1, device=x.device)
        sizes = (operation[:, :, None] == numbers).sum(0).tolist()
        # The samples lie sorted by the operation of the step: whole blocks are cheap to move, scattered rows are not.
        at = torch.arange(len(x), device=x.device)
        for step, groups in enumerate(sizes):
            order = operation[at, step].argsort(stable=True)
            at = at[order]
            parts = zip(
                (None, *OPERATIONS),
                x.index_select(0, order).split(groups),
                magnitude[at, step].split(groups),
                place[at, step].split(groups),
                strict=True,
            )
            done = [_apply(name, part, value, spot, self.fill) for name, part, value, spot in parts if len(part)]
            x = torch.cat(done) if done else x
        return x.index_select(0, at.argsort())


@dataclass(frozen=True)
class AutoAugment(_Policy):
    """AutoAugment with the CIFAR-10 policy: each sample draws one of the 25 sub-policies of two operations.

    Operations, probabilities, magnitudes, signs and fill colour are those of `CIFAR10Policy` in the `randaugment` package,
    which the authors of ACT use; given the same draws the pictures are equal bit for bit. As there, rotations go one way only.

    Args:
        fill: grey level of pixels from outside the image, 0..255.

    >>> import torch
    >>> images = torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8).expand(4, 3, 8, 8)
    >>> AutoAugment()(images, Draws(0, torch.arange(4))).shape
    torch.Size([4, 3, 8, 8])
    """

    fill: int = 128

    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """One sub-policy for each sample."""
        device = draws.position.device
        steps = [step for pair in CIFAR10_POLICY for step in pair]
        number = constant(tuple(OPERATIONS.index(step.operation) + 1 for step in steps), torch.int64, device)
        p = constant(tuple(step.p for step in steps), torch.float32, device)
        level = constant(tuple(step.level for step in steps), torch.int64, device)
        chosen = 2 * draws.integers(0, len(CIFAR10_POLICY))[:, None] + torch.arange(2, device=device)
        operation = torch.where(draws.uniform(shape=(2,)) < p[chosen], number[chosen], 0)
        return operation, _magnitude(operation, level[chosen], draws)


@dataclass(frozen=True)
class RandAugment(_Policy):
    """Each sample draws `n` operations, each applied with probability `p`, all 15 of `OPERATIONS` equally likely.

    The defaults are those of `RandAugment` in the `randaugment` package: two operations, each with probability 1/2 and a level
    drawn from 1..9. (The package has no arguments; `n` and `m` are the names of Cubuk et al., NeurIPS 2020.)

    Args:
        n: operations a sample.
        m: level of all operations, 0..9; `None` draws it for each from 1..9.
        p: probability of each operation.
        fill: grey level of pixels from outside the image, 0..255.

    Raises:
        ValueError: for `n` < 1 or `m` outside 0..9.
    """

    n: int = 2
    m: int | None = None
    p: float = 0.5
    fill: int = 128

    def __post_init__(self) -> None:
        if self.n < 1 or not (self.m is None or 0 <= self.m <= 9):
            raise ValueError(f"RandAugment(n={self.n}, m={self.m}): n must be at least 1, m None or in 0..9.")

    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """`n` operations for each sample."""
        number = draws.integers(1, len(OPERATIONS) + 1, (self.n,))
        operation = torch.where(draws.bernoulli(self.p, (self.n,)), number, 0)
        level = draws.integers(1, 10, (self.n,)) if self.m is None else torch.full_like(number, self.m)
        return operation, _magnitude(operation, level, draws)


def _magnitude(operation: Tensor, level: Tensor, draws: Draws) -> Tensor:
    """Values of levels (B, S), with a random sign where the operation has one, added to 1 where it is a blend."""
    device = level.device
    values = constant((*_NONE, *(value for ten in LEVELS.values() for value in ten)), torch.float64, device)
    neutral = constant((0.0, *(float(name in _BLENDS) for name in OPERATIONS)), torch.float64, device)
    signed = constant((0, *(name in _BLENDS or name in _SHIFTS for name in OPERATIONS)), torch.bool, device)
    negative = draws.bernoulli(0.5, (level.shape[1],)) & signed[operation]
    value = values[operation * 10 + level]
    return neutral[operation] + torch.where(negative, -value, value)


def _apply(name: str | None, x: Tensor, value: Tensor, place: Tensor, fill: int) -> Tensor:
    """One operation, or none, on the samples that drew it."""
    if name is None:
        return x
    if name in _PLAIN:
        return _PLAIN[name](x)
    if name in _TABLES:
        return _TABLES[name](x, value)
    if name in _BLENDS:
        return _BLENDS[name](x, value)
    if name in _SHIFTS:
        return _SHIFTS[name](x, value, fill)
    if name == "rotate":
        return ops.rotate(x, value, fill)
    return ops.cutout(x, value, place[:, 0], place[:, 1])
