"""What the augmentation policies share: the numbered operations, their magnitudes, and how a plan is applied to a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from noisylab.transforms import ops
from noisylab.transforms.base import View, blocks, to_device
from noisylab.transforms.draws import Draws

__all__ = ["OPERATIONS", "BLEND_CENTerS", "Policy", "SHIFT_CENTerS", "draw_magnitudes", "number_of", "two_ways"]

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

BLEND_CENTerS = dict.fromkeys(_BLENDS, 1.0)
"""What a signed magnitude of a blend is added to: the factor that changes nothing."""

SHIFT_CENTerS = dict.fromkeys(_SHIFTS, 0.0)
"""The same for shears and translations."""


class Policy(View):
    """Applies, step by step, the operations that a subclass draws.

    Samples are grouped by operation: in each step one call of each operation, on the samples that drew it. Draws are made and
    sorted on the host, so that the sizes of the groups are known there; see `Draws.on_host`.
    """

    fill: int

    @abstractmethod
    def plan(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """What each sample undergoes, in S steps, from draws on the host.

        Returns:
            operation: (B, S) int64, numbers of operations in the order of application, 0 for none.
            magnitude: (B, S) float64, as the functions of `noisylab.transforms.ops` take it; arbitrary where none is taken.
        """

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The augmented images, (B, C, H, W) uint8, C = 1 or 3."""
        if x.dtype != torch.uint8 or x.dim() != 4 or x.shape[1] not in (1, 3):
            raise TypeError(
                f"{self} takes (B, 1 or 3, H, W) uint8 images, not {tuple(x.shape)} {x.dtype}: "
                "put it before Normalize or ToFloat, and use Contrast and GaussianNoise for images of other channel counts."
            )
        draws = draws.on_host()
        operation, magnitude = self.plan(draws)
        # Drawn for every sample, although only cutout needs a place: the number of draws must not depend on the plan.
        place = (draws.uniform(shape=(operation.shape[1], 2)) * torch.tensor(x.shape[-2:], dtype=torch.float32)).long()
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
            sizes = operation[:, step].bincount(minlength=len(OPERATIONS) + 1).tolist()
            groups = zip((None, *OPERATIONS), sizes, strict=True)
            pieces = [(name, run.stop - run.start) for name, size in groups for run in blocks(x[:size])]
            columns = (x.index_select(0, order), value.view(torch.float64), row, column)
            parts = zip(pieces, *(each.split([length for _, length in pieces]) for each in columns), strict=True)
            done = [_apply(name, part, value, row, column, self.fill) for (name, _), part, value, row, column in parts]
            x = torch.cat(done) if done else x
        return x.index_select(0, back)


def number_of(name: str) -> int:
    """The number of an operation; 0 for "identity"."""
    return 0 if name == "identity" else OPERATIONS.index(name) + 1


def two_ways(levels: Mapping[str, tuple[float, ...]], centers: Mapping[str, float]) -> Tensor:
    """Magnitudes by operation, sign and level.

    Args:
        levels: magnitudes of the operations a policy knows, L for each.
        centers: what a signed magnitude is added to, for the operations whose sign is drawn.

    Returns:
        (operations + 1, 2, L) float64, by number of the operation: magnitudes added to the center and taken from it, or twice
        the same where no sign is drawn.
    """
    none = (0.0,) * len(next(iter(levels.values())))
    ways = []
    for name in ("identity", *OPERATIONS):
        values, center = levels.get(name, none), centers.get(name)
        ways.append([values, values] if center is None else [[center + v for v in values], [center - v for v in values]])
    return torch.tensor(ways, dtype=torch.float64)


def draw_magnitudes(operation: Tensor, level: Tensor, ways: Tensor, draws: Draws) -> Tensor:
    """Values (B, S) float64 of operations and levels (B, S), with drawn signs; `ways` as `two_ways` gives them."""
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
    if name == "rotate":
        return ops.rotate(x, value, fill)
    return ops.cutout(x, value, row, column)
