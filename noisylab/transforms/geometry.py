"""Shears and rotations on uint8 batches by the nearest pixel or bilinearly, each sample by its own amount, as in PIL.

As in `noisylab.transforms.ops`, every function takes (B, C, H, W) uint8 with any number of channels and (B,) magnitudes on the
same device, and equals PIL's result bit for bit on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.transforms.image import take_pixels
from noisylab.transforms.ops import centers, fixed_point, take_or_fill

__all__ = ["rotate_bilinear", "shear_x_bilinear", "shear_x_nearest", "shear_y_bilinear", "shear_y_nearest"]


def shear_x_nearest(x: Tensor, slope: Tensor, fill: int = 0) -> Tensor:
    """Row i takes its pixels from `slope` * (i + 1/2) further right, nearest pixel. Exact."""
    row, column = centers(x, -2).view(1, -1, 1), centers(x, -1).view(1, 1, -1)
    slope = slope.double()
    columns = (fixed_point(0.5 + slope * 0.5) + row * fixed_point(slope)) + column * 65536
    return take_or_fill(x, row, columns >> 16, fill)


def shear_y_nearest(x: Tensor, slope: Tensor, fill: int = 0) -> Tensor:
    """Column j takes its pixels from `slope` * (j + 1/2) further down, nearest pixel. Exact."""
    return shear_x_nearest(x.transpose(2, 3), slope, fill).transpose(2, 3).contiguous()


def shear_x_bilinear(x: Tensor, slope: Tensor, fill: int = 0) -> Tensor:
    """Row i takes its pixels from `slope` * (i + 1/2) further right, bilinearly. Exact."""
    row, column = _places(x)
    columns, width = column + row * _each(slope), x.shape[-1]
    outside = (columns < 0) | (columns >= width)
    # No row lies between two rows, so two of the four neighbors are enough.
    value = _between(x.contiguous(), centers(x, -2).view(1, -1, 1), columns.sub_(0.5))
    return torch.where(outside[:, None], fill, value.to(torch.int16)).to(torch.uint8)


def shear_y_bilinear(x: Tensor, slope: Tensor, fill: int = 0) -> Tensor:
    """Column j takes its pixels from `slope` * (j + 1/2) further down, bilinearly. Exact."""
    return shear_x_bilinear(x.transpose(2, 3), slope, fill).transpose(2, 3).contiguous()


def rotate_bilinear(x: Tensor, degrees: Tensor, fill: int = 0) -> Tensor:
    """Rotate counterclockwise around the center, bilinearly. Exact."""
    middle_y, middle_x = x.shape[-2] / 2, x.shape[-1] / 2
    angle = -torch.deg2rad(degrees.double())
    cos, sin = (torch.round(value, decimals=15) for value in (angle.cos(), angle.sin()))
    start_x = middle_x - (cos * middle_x + sin * middle_y)
    start_y = middle_y - (cos * middle_y - sin * middle_x)
    row, column = _places(x)
    columns = (column * _each(cos) + row * _each(sin)) + _each(start_x)
    rows = (column * _each(-sin) + row * _each(cos)) + _each(start_y)
    height, width = x.shape[-2:]
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    rows, columns = rows.sub_(0.5), columns.sub_(0.5)
    top = rows.floor()
    down, top, x = rows.sub_(top)[:, None], top.int(), x.contiguous()
    above = _between(x, top.clamp(0, height - 1), columns)
    below = _between(x, (top + 1).clamp_(0, height - 1), columns)
    value = below.sub_(above).mul_(down).add_(above)
    return torch.where(outside[:, None], fill, value.to(torch.int16)).to(torch.uint8)


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """(1, H, 1) and (1, 1, W) float64 centers of the pixels."""
    return centers(x, -2).double().add_(0.5).view(1, -1, 1), centers(x, -1).double().add_(0.5).view(1, 1, -1)


def _each(value: Tensor) -> Tensor:
    return value.double().view(-1, 1, 1)


def _between(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, H, W) float64 values in whole rows, at float64 columns (B, H, W) between the centers of pixels."""
    left = columns.floor()
    right, left = (columns - left)[:, None], left.int()
    first, second = (take_pixels(x, rows, (left + k).clamp_(0, x.shape[-1] - 1)).to(torch.int16) for k in (0, 1))
    return second.sub_(first).double().mul_(right).add_(first.double())
