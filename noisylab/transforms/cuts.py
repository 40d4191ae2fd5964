"""Views in two steps: a loader worker cuts squares of bytes out of a picture, the training device does all else, in batches.

A worker draws only where to cut; the picture is decoded once for all of a sample's views, and a square of bytes is a quarter of
what a normalized one would be to move.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from noisylab.transforms.base import View
from noisylab.transforms.draws import Draws
from noisylab.transforms.pil import require_fit, scaled_size

__all__ = ["Cut", "CutView", "RegionCut", "SquareCut", "Window", "cut_out", "spare"]

_TRIES = 10  # of a region, before the largest square in the middle is taken
_RATIO = math.log(4 / 3)  # of the sides of a region, at most

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Window(NamedTuple):
    """A square of a picture: a region of it, scaled, and a corner in that.

    Args:
        region: left, top, right and bottom, in pixels of the picture at full size.
        size: width and height that the region is scaled to.
        corner: left and top of the square in the scaled region.
    """

    region: tuple[int, int, int, int]
    size: tuple[int, int]
    corner: tuple[int, int]


class Cut(ABC):
    """What of a picture a view sees: a small picklable object; where to cut comes from the given draws alone.

    Attributes:
        side: of the square, in pixels.
    """

    @property
    @abstractmethod
    def side(self) -> int:
        """Side of the square, in pixels."""

    @abstractmethod
    def draw(self, draws: Draws) -> Tensor:
        """(B, n) uniform numbers in [0, 1) for B samples, however large their pictures are."""

    @abstractmethod
    def window(self, width: int, height: int, drawn: Sequence[float]) -> Window:
        """The square of one picture.

        Args:
            width: of the picture.
            height: likewise.
            drawn: n numbers of this sample.
        """


@dataclass(frozen=True)
class SquareCut(Cut):
    """Scale the shorter side, cut out a square at a random place, or in the middle; as `PILTrain` and `PILEval`.

    Args:
        resize: length of the shorter side after scaling, in pixels.
        crop: side of the square, in pixels, at most `resize`.
        middle: whether to cut out the middle, and draw nothing.

    Raises:
        ValueError: if `crop` is larger than `resize`.
    """

    resize: int
    crop: int
    middle: bool = False

    def __post_init__(self) -> None:
        require_fit(self.resize, self.crop)

    @property
    def side(self) -> int:
        """Side of the square, in pixels."""
        return self.crop

    def draw(self, draws: Draws) -> Tensor:
        """Two numbers a sample; none for the middle."""
        return draws.uniform(shape=(0 if self.middle else 2,))

    def window(self, width: int, height: int, drawn: Sequence[float]) -> Window:
        """The square of one picture."""
        size = scaled_size(width, height, self.resize)
        room = size[0] - self.crop, size[1] - self.crop
        corner = (round(room[0] / 2), round(room[1] / 2)) if self.middle else tuple(map(_place, drawn, room))
        return Window((0, 0, width, height), size, (corner[0], corner[1]))


@dataclass(frozen=True)
class RegionCut(Cut):
    """Scale a random region of the picture to a square; as `PILSimCLR`.

    Its share of the area is uniform between `least` and 1, the ratio of its sides between 3/4 and 4/3, on a logarithmic scale.
    Of ten such draws the first that fits is used, or else the largest square in the middle.

    Args:
        crop: side of the square, in pixels.
        least: smallest share of the area, in (0, 1].
    """

    crop: int
    least: float = 0.2

    @property
    def side(self) -> int:
        """Side of the square, in pixels."""
        return self.crop

    def draw(self, draws: Draws) -> Tensor:
        """Two numbers for each of the ten tries, and two for the place."""
        return draws.uniform(shape=(2 * _TRIES + 2,))

    def window(self, width: int, height: int, drawn: Sequence[float]) -> Window:
        """The region of one picture."""
        size = self.crop, self.crop
        for share, ratio in zip(drawn[:_TRIES], drawn[_TRIES : 2 * _TRIES], strict=True):
            area = width * height * (self.least + (1 - self.least) * share)
            spread = math.exp(_RATIO * (2 * ratio - 1) / 2)
            wide, tall = round(math.sqrt(area) * spread), round(math.sqrt(area) / spread)
            if 0 < wide <= width and 0 < tall <= height:
                left, top = _place(drawn[-2], width - wide), _place(drawn[-1], height - tall)
                return Window((left, top, left + wide, top + tall), size, (0, 0))
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return Window((left, top, left + side, top + side), size, (0, 0))


def _place(drawn: float, room: int) -> int:
    """A whole number from 0 to `room`."""
    return int(drawn * (room + 1))


@dataclass(frozen=True)
class CutView:
    """A view in two steps.

    Args:
        cut: what a loader worker does, a picture at a time.
        after: what the training device does with the squares, (B, 3, side, side) uint8.
    """

    cut: Cut
    after: View

    def at(self, epoch: int) -> CutView:
        """The view of an epoch; see `View.at`."""
        return replace(self, after=self.after.at(epoch))


def spare(windows: Sequence[Window]) -> float:
    """By how many times smaller a picture may be decoded for these squares to lose nothing but pixels that scaling would drop."""
    return min(min((right - left) / size[0], (bottom - top) / size[1]) for (left, top, right, bottom), size, _ in windows)


def cut_out(image: Image.Image, full: tuple[int, int], windows: Sequence[Window], sides: Sequence[int]) -> list[Pixels]:
    """The squares of a picture; what several of them share is scaled once.

    Args:
        image: RGB, at full size or decoded smaller.
        full: width and height at full size.
        windows: the squares.
        sides: of each, in pixels.

    Returns:
        (side, side, 3) uint8 for each.
    """
    pixels: Pixels = np.array(image)
    scaled: dict[tuple[Any, Any], Pixels] = {}
    squares = []
    for (region, size, (left, top)), side in zip(windows, sides, strict=True):
        if (region, size) not in scaled:
            scaled[region, size] = _scaled(pixels, full, region, size)
        squares.append(scaled[region, size][top : top + side, left : left + side])
    return squares


def _scaled(image: Pixels, full: tuple[int, int], region: tuple[int, int, int, int], size: tuple[int, int]) -> Pixels:
    """A region, given at full size, of a picture that may be smaller, scaled as Pillow does but for single levels (antialiased).

    torch takes a third or a quarter of Pillow's time for it.
    """
    height, width = image.shape[:2]
    left, right = (round(side * width / full[0]) for side in region[::2])
    top, bottom = (round(side * height / full[1]) for side in region[1::2])
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    if part.shape[:2] == size[::-1]:
        return part
    pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None]
    scaled = F.interpolate(pixels, size[::-1], mode="bilinear", antialias=True)
    return scaled[0].permute(1, 2, 0).numpy()
