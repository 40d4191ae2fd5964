"""The shared parts of the augmentation policies: numbered operations, their magnitudes, and applying a plan to a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from noisylab.transforms import geometry, ops
from noisylab.transforms.base import StrongView, View, blocks, to_device
from noisylab.transforms.draws import Draws

__all__ = [
    "BLEND_CENTERS",
    "OPERATIONS",
    "SHIFT_CENTERS",
    "Policy",
    "apply_plan",
    "check_pixels",
    "draw_magnitudes",
    "number_of",
    "two_ways",
]

OPERATIONS: tuple[str, ...] = (
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "cutout",
    "equalize",
    "invert",
    "posterize",
    "rotate",
    "sharpness",
    "shearX",
    "shearY",
    "solarize",
    "translateX",
    "translateY",
)
"""The operations of the `randaugment` package. The place in this tuple plus one is the operation's number; 0 does nothing."""

_FURTHER = (
    "shearXNearest",
    "shearYNearest",
    "shearXBilinear",
    "shearYBilinear",
    "rotateBilinear",
    "solarizeAdd",
    "square",
    "graySquare",
)
"""Those that other packages do otherwise, or besides; their numbers follow."""
_EVERY = (*OPERATIONS, *_FURTHER)
_SQUARES = {"square": (125, 123, 114), "graySquare": (127, 127, 127)}

_PLAIN = {"autocontrast": ops.autocontrast, "equalize": ops.equalize, "invert": ops.invert}
_TABLES = {"posterize": ops.posterize, "solarize": ops.solarize, "solarizeAdd": ops.solarize_add}
_BLENDS = {"brightness": ops.brightness, "color": ops.color, "contrast": ops.contrast, "sharpness": ops.sharpness}
_SHIFTS = {
    "rotate": ops.rotate,
    "rotateBilinear": geometry.rotate_bilinear,
    "shearX": ops.shear_x,
    "shearXBilinear": geometry.shear_x_bilinear,
    "shearXNearest": geometry.shear_x_nearest,
    "shearY": ops.shear_y,
    "shearYBilinear": geometry.shear_y_bilinear,
    "shearYNearest": geometry.shear_y_nearest,
    "translateX": ops.translate_x,
    "translateY": ops.translate_y,
}

BLEND_CENTERS = dict.fromkeys(_BLENDS, 1.0)
"""What a signed magnitude of a blend is added to: the factor that changes nothing."""

SHIFT_CENTERS = {name: 0.0 for name in _SHIFTS if not name.startswith("rotate")}
"""The same for shears and translations."""


class Policy(StrongView):
    """Applies, step by step, the operations that a subclass draws.

    Samples are grouped by operation: each step calls each operation once, on the samples that drew it. Draws are made and
    sorted on the host, so that the group sizes are known there; see `Draws.on_host`.
    """

    fill: int

    @abstractmethod
    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """What each sample undergoes, in S steps, from draws on the host.

        Returns:
            operation: (B, S) int64, numbers of operations in the order of application, 0 for none.
            magnitude: (B, S) float64, as the functions of `noisylab.transforms.ops` take it; arbitrary where an operation takes
                none.
        """

    def in_pixels(self, operation: Tensor, magnitude: Tensor, size: tuple[int, int]) -> Tensor:
        """The planned magnitudes for images of (height, width); here, they do not depend on it."""
        return magnitude

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The augmented images, (B, C, H, W) uint8, C = 1 or 3."""
        check_pixels(self, x)
        draws = draws.on_host()
        operation, magnitude = self.plan(draws)
        # Drawn for every sample, although only cutout needs a place: the number of draws must not depend on the plan.
        spot = draws.uniform(shape=(operation.shape[1], 2)) * torch.tensor(x.shape[-2:], dtype=torch.float32)
        size = int(x.shape[-2]), int(x.shape[-1])
        return apply_plan(x, operation, self.in_pixels(operation, magnitude, size), spot, self.fill)


def check_pixels(view: View, x: Tensor) -> None:
    """Refuse anything but a batch of uint8 images.

    Raises:
        TypeError: naming the view and what it takes.
    """
    if x.dtype != torch.uint8 or x.dim() != 4 or x.shape[1] not in (1, 3):
        raise TypeError(
            f"{view} takes (B, 1 or 3, H, W) uint8 images, not {tuple(x.shape)} {x.dtype}: "
            "put it before Normalize or ToFloat, and use Contrast and GaussianNoise for images of other channel counts."
        )


def apply_plan(x: Tensor, operation: Tensor, magnitude: Tensor, spot: Tensor, fill: int) -> Tensor:
    """The images after S steps of operations.

    Args:
        x: (B, 1 or 3, H, W) uint8.
        operation: (B, S) int64 on the host, numbers of operations, 0 for none.
        magnitude: (B, S) float64 on the host, see `Policy.plan`.
        spot: (B, S, 2) float32 on the host, row and column of a point of the image, around which squares are painted.
        fill: gray level of pixels from outside the image.
    """
    square = (operation == number_of("square")) | (operation == number_of("graySquare"))
    start = (spot.double() - magnitude[..., None] / 2).clamp(min=0)
    place = torch.where(square[..., None], start, spot.double()).long()
    # The samples lie sorted by the operation of the step: whole blocks are cheap to move, scattered rows are not.
    at, rows = torch.arange(len(x)), []
    for step in range(operation.shape[1]):
        order = operation[at, step].argsort(stable=True)
        at = at[order]
        # One copy takes everything to the device, magnitudes as the bits of their float64.
        rows += [order, magnitude[at, step].view(torch.int64), *place[at, step].unbind(1)]
    *rows, back = to_device(torch.stack([*rows, at.argsort()]), x.device)
    for step in range(operation.shape[1]):
        order, value, row, column = rows[4 * step : 4 * step + 4]
        sizes = operation[:, step].bincount(minlength=len(_EVERY) + 1).tolist()
        groups = zip((None, *_EVERY), sizes, strict=True)
        pieces = [(name, run.stop - run.start) for name, size in groups for run in blocks(x[:size])]
        columns = (x.index_select(0, order), value.view(torch.float64), row, column)
        parts = zip(pieces, *(each.split([length for _, length in pieces]) for each in columns), strict=True)
        done = [_apply(name, part, value, row, column, fill) for (name, _), part, value, row, column in parts]
        x = torch.cat(done) if done else x
    return x.index_select(0, back)


def number_of(name: str) -> int:
    """The number of an operation; 0 for "identity"."""
    return 0 if name == "identity" else _EVERY.index(name) + 1


def two_ways(levels: Mapping[str, tuple[float, ...]], centers: Mapping[str, float]) -> Tensor:
    """Magnitudes by operation, sign and level.

    Args:
        levels: magnitudes of the operations a policy knows, L for each.
        centers: what a signed magnitude is added to, for operations with a random sign.

    Returns:
        (operations + 1, 2, L) float64, by number of the operation: magnitudes added to the center and subtracted from it, or
        the same value twice if no sign is drawn.
    """
    none = (0.0,) * len(next(iter(levels.values())))
    ways = []
    for name in ("identity", *_EVERY):
        values, center = levels.get(name, none), centers.get(name)
        ways.append([values, values] if center is None else [[center + v for v in values], [center - v for v in values]])
    return torch.tensor(ways, dtype=torch.float64)


def draw_magnitudes(operation: Tensor, level: Tensor, ways: Tensor, draws: Draws) -> Tensor:
    """Values (B, S) float64 of operations and levels (B, S), with random signs; `ways` is the result of `two_ways`."""
    negative = draws.bernoulli(0.5, (level.shape[1],)).long()
    return ways[operation, negative, level]


def _apply(name: str | None, x: Tensor, value: Tensor, row: Tensor, column: Tensor, fill: int) -> Tensor:
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
    if name in _SQUARES:
        color = _SQUARES[name]
        return ops.square(x, value, row, column, color[1:2] if x.shape[1] == 1 else color)
    return ops.cutout(x, value, row, column)
