"""The pixel operations of AutoAugment on uint8 batches, each sample with its own magnitude, as PIL computes them.

Every function takes `x`, (B, C, H, W) uint8 with C = 3 or 1, and returns a new tensor of that shape (all but `color`, `contrast`
and `cutout` take any number of channels). Magnitudes are (B,) tensors on the same device. On a CPU every one of them equals
PIL's result for images of mode RGB or L bit for bit (`tests/transforms/test_ops.py` holds it against PIL, operation by
operation). For that, arithmetic follows PIL's types: float32 and truncation in blends, float64 in tables and cubic taps, 16.16
fixed point in rotations. A device must therefore know float64, as CPU and CUDA do.

For speed on a CPU, bytes are converted before they meet another type: torch's mixed-type broadcasts are ten times slower.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.transforms.image import erase, take_pixels

__all__ = [
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
    "shear_x",
    "shear_y",
    "solarize",
    "solarize_add",
    "square",
    "translate_x",
    "translate_y",
]


def invert(x: Tensor) -> Tensor:
    """255 - x. Exact."""
    return x.bitwise_not()


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert the pixels at or above `threshold` (any float). Exact."""
    # For integers x >= t and x >= ceil(t) are the same; 0..256 does not fit into 8 bits.
    limit = _each(threshold.ceil().clamp(0, 256).to(torch.int16))
    inverted = (x.to(torch.int16) >= limit).view(torch.uint8)  # 0 or 1, and -1 is 255
    return inverted.neg_().bitwise_xor_(x)


def solarize_add(x: Tensor, addition: Tensor) -> Tensor:
    """Add `addition` (any float, at least 0) to every pixel, at most up to 255, then invert those at or above 128. Exact."""
    added = (x.to(torch.int16) + _each(addition.floor().to(torch.int16))).clamp_(max=255).to(torch.uint8)
    return solarize(added, torch.full_like(addition, 128))


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Keep the `bits` highest bits (1..8, of any numeric type) of each pixel. Exact."""
    mask = 256 - torch.bitwise_left_shift(1, 8 - bits.to(torch.int64))
    return x & _each(mask.to(torch.uint8))


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel so that its extremes become 0 and 255. Exact."""
    low = x.amin(dim=(2, 3), keepdim=True).double()
    high = x.amax(dim=(2, 3), keepdim=True).double()
    flat = high <= low
    # Not 255 / tensor, which torch computes as 255 * (1 / tensor), rounded twice.
    scale = torch.full_like(low, 255.0).div_((high - low).masked_fill_(flat, 255.0))
    offset = -low.masked_fill_(flat, 0.0) * scale
    return _to_bytes(x.double().mul_(scale).add_(offset))


def equalize(x: Tensor) -> Tensor:
    """Flatten the histogram of each channel. Exact."""
    # One table of 256 levels for each plane, all in one line: where in it each pixel's level lies.
    planes = x.shape[0] * x.shape[1]
    start = torch.arange(0, planes * 256, 256, dtype=torch.int32, device=x.device).view(*x.shape[:2], 1, 1)
    place = x.to(torch.int32, memory_format=torch.contiguous_format).add_(start).view(-1)
    counts = _count(place, planes * 256).view(planes, 256)
    below = counts.cumsum(1).sub_(counts)
    # The pixels below the brightest level are spread over 255 steps; where that makes no whole step the channel stays as it is.
    brightest = x.amax(dim=(2, 3)).view(planes, 1).long()
    step = below.gather(1, brightest) // 255
    table = _truncate(below.add_(step // 2).double().div_(step.clamp(min=1)))
    table = torch.where(step > 0, table, torch.arange(256, dtype=torch.uint8, device=x.device))
    return table.view(-1).index_select(0, place).view(x.shape)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with black; factor 1 keeps the image. Exact."""
    return _truncate(x.float().mul_(_each(factor.float())))


def color(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the gray image; factor 1 keeps the image, and a gray image is kept by all. Exact."""
    return _blend(_luma(x).float(), x, factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean gray level; factor 1 keeps the image. Exact."""
    size = x.shape[-2] * x.shape[-1]
    total = _luma(x).sum(dim=(2, 3), keepdim=True)
    mean = (2 * total + size) // (2 * size)
    return _blend(mean.float(), x, factor)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with PIL's SMOOTH (3x3, center 5, sum 13; the border stays); factor 1 keeps the image. Exact."""
    smooth = x.float()
    if min(x.shape[-2:]) >= 3:
        center = smooth[..., 1:-1, 1:-1]
        total = (smooth[..., :-2] + smooth[..., 1:-1]).add_(smooth[..., 2:])
        total = (total[..., :-2, :] + total[..., 1:-1, :]).add_(total[..., 2:, :])
        # Thirteenths rounded to nearest: there are no ties, and the next boundary is 1/26 away, far more than float32 errs.
        center.copy_(total.add_(center, alpha=4).add_(6.5).mul_(1 / 13).floor_())
    return _blend(smooth, x, factor)


def translate_x(x: Tensor, share: Tensor, fill: int = 128) -> Tensor:
    """Move the image left by `share` of its width (right where negative), nearest pixel. Exact."""
    columns = centers(x, -1).view(1, 1, -1) + _pixels(share, x.shape[-1])
    return take_or_fill(x, centers(x, -2).view(1, -1, 1), columns, fill)


def translate_y(x: Tensor, share: Tensor, fill: int = 128) -> Tensor:
    """Move the image up by `share` of its height (down where negative), nearest pixel. Exact."""
    rows = centers(x, -2).view(1, -1, 1) + _pixels(share, x.shape[-2])
    return take_or_fill(x, rows, centers(x, -1).view(1, 1, -1), fill)


def rotate(x: Tensor, degrees: Tensor, fill: int = 128) -> Tensor:
    """Rotate counterclockwise around the center, nearest pixel. Exact."""
    middle_y, middle_x = x.shape[-2] / 2, x.shape[-1] / 2
    angle = -torch.deg2rad(degrees.double())
    cos, sin = angle.cos(), angle.sin()
    start_x = middle_x - (cos * middle_x + sin * middle_y) + (cos * 0.5 + sin * 0.5)
    start_y = middle_y - (cos * middle_y - sin * middle_x) + (cos * 0.5 - sin * 0.5)
    row, column = centers(x, -2).view(1, -1, 1), centers(x, -1).view(1, 1, -1)
    rows = (fixed_point(start_y) + row * fixed_point(cos)) + column * fixed_point(-sin)
    columns = (fixed_point(start_x) + row * fixed_point(sin)) + column * fixed_point(cos)
    return take_or_fill(x, rows >> 16, columns >> 16, fill)


def shear_x(x: Tensor, slope: Tensor, fill: int = 128) -> Tensor:
    """Row i takes its pixels from `slope` * (i + 1/2) further right, by PIL's cubic (a = -1). Exact."""
    width = x.shape[-1]
    row, column = centers(x, -2).view(1, -1, 1), centers(x, -1).view(1, 1, -1)
    place = (column + 0.5) + (row + 0.5) * slope.double().view(-1, 1, 1)
    outside = (place < 0) | (place >= width)
    left = place.sub_(0.5).floor()
    offset = place.sub_(left)[:, None]
    first = left.int() - 1
    x = x.contiguous()
    taps = [take_pixels(x, row, (first + k).clamp_(0, width - 1)).to(torch.int16) for k in range(4)]
    return torch.where(outside[:, None], fill, _truncate(_cubic(taps, offset)))


def shear_y(x: Tensor, slope: Tensor, fill: int = 128) -> Tensor:
    """Column j takes its pixels from `slope` * (j + 1/2) further down, by PIL's cubic (a = -1). Exact."""
    return shear_x(x.transpose(2, 3), slope, fill).transpose(2, 3).contiguous()


def cutout(x: Tensor, size: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Paint a square of `size` pixels around (row, column) in the gray (125, 122, 113) of the `randaugment` package. Exact.

    As there, an odd size is one pixel smaller. With one channel the gray is 122, what PIL makes of that color.
    """
    half = size.long() // 2
    gray = (122,) if x.shape[1] == 1 else (125, 122, 113)
    return erase(x, row - half, column - half, row + half, column + half, gray)


def square(x: Tensor, size: Tensor, row: Tensor, column: Tensor, color: tuple[int, ...]) -> Tensor:
    """Paint a square whose first pixel is (row, column) and whose last one lies int(`size`) further down and right.

    So it is one pixel larger than `size`, as PIL draws rectangles, and where FixMatch and others clip its start, but not its
    size, at the upper and left border. Exact.
    """
    end = size.long() + 1
    return erase(x, row, column, row + end, column + end, color)


def _each(value: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return value.view(-1, 1, 1, 1)


def _truncate(value: Tensor) -> Tensor:
    """Float pixels to uint8 as C casts them after clipping; writes to `value`."""
    return _to_bytes(value.clamp_(0, 255))


def _to_bytes(value: Tensor) -> Tensor:
    """Float pixels at least 0 and below 256 to uint8, cut to whole numbers."""
    # By way of int16: on a CPU torch reaches uint8 twice as fast like this.
    return value.to(torch.int16).to(torch.uint8)


def _count(values: Tensor, size: int) -> Tensor:
    """How often each of 0..size-1 occurs in `values` (N,), int64; on a GPU without bincount, which would wait for it."""
    return values.bincount(minlength=size) if values.device.type == "cpu" else _count_by_adding(values, size)


def _count_by_adding(values: Tensor, size: int) -> Tensor:
    """`_count` by scatter_add_, which in one dimension has a deterministic form on CUDA."""
    ones = torch.ones_like(values, dtype=torch.int64)
    return torch.zeros(size, dtype=torch.int64, device=values.device).scatter_add_(0, values.long(), ones)


def _luma(x: Tensor) -> Tensor:
    """PIL's gray level, (B, 1, H, W) int32 in 0..255."""
    wide = x.to(torch.int32)
    if x.shape[1] == 1:
        return wide
    gray = wide[:, :1] * 19595
    return gray.add_(wide[:, 1:2], alpha=38470).add_(wide[:, 2:], alpha=7471).add_(0x8000).bitwise_right_shift_(16)


def _blend(degenerate: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """degenerate + factor * (x - degenerate), for float32 `degenerate` that broadcasts to `x`."""
    return _truncate(x.float().sub_(degenerate).mul_(_each(factor.float())).add_(degenerate))


def centers(x: Tensor, dim: int) -> Tensor:
    """0, 1, ... along a side, int32."""
    return torch.arange(x.shape[dim], dtype=torch.int32, device=x.device)


def _pixels(share: Tensor, side: int) -> Tensor:
    """Shares of a side in whole pixels, (B, 1, 1) int32."""
    return (share.double() * side + 0.5).floor().int().view(-1, 1, 1)


def fixed_point(value: Tensor) -> Tensor:
    """16.16 fixed point, (B, 1, 1) int32."""
    return (value * 65536 + 0.5).floor().int().view(-1, 1, 1)


def take_or_fill(x: Tensor, rows: Tensor, columns: Tensor, fill: int) -> Tensor:
    """`take_pixels` with `fill` wherever a row or a column lies outside the image."""
    height, width = x.shape[-2:]
    ringed = F.pad(x, (1, 1, 1, 1), value=fill)
    return take_pixels(ringed, rows.clamp(-1, height) + 1, columns.clamp(-1, width) + 1)


def _cubic(taps: list[Tensor], offset: Tensor) -> Tensor:
    """The cubic through four neighbors, int16, at `offset` float64 from the second, in PIL's order of operations."""
    v1, v2, v3, v4 = taps
    value = (v2 - v1 + v4 - v3).double().mul_(offset)
    value.add_((2 * (v1 - v2) + v3 - v4).double()).mul_(offset)
    return value.add_((v3 - v1).double()).mul_(offset).add_(v2.double())
