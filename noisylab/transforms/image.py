"""Views of image batches (B, C, H, W), any number of channels, drawn per sample.

Pixels are uint8 in 0..255, or float: float images are taken to lie in [0, 1] already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.transforms.base import StrongView, View, blocks, constant
from noisylab.transforms.draws import Draws

__all__ = [
    "Contrast",
    "Cutout",
    "GaussianNoise",
    "Normalize",
    "RandomCrop",
    "RandomCropFlip",
    "RandomHorizontalFlip",
    "ToBytes",
    "ToFloat",
    "erase",
    "inside_boxes",
    "take_pixels",
]


@dataclass(frozen=True)
class RandomCrop(View):
    """Pad each side, then crop to the original size at a position drawn per sample; any dtype, which is kept.

    The same as a random shift by up to `padding` pixels each way.

    Args:
        padding: pixels added on each side, >= 0.
        fill: value of the added pixels.

    >>> import torch
    >>> RandomCrop(4)(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), Draws(0, torch.arange(2))).shape
    torch.Size([2, 1, 8, 8])
    """

    padding: int
    fill: float = 0

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The crops, of the shape of `x`."""
        return _crop(x, draws.integers(0, 2 * self.padding + 1, (2,)), None, self.padding, self.fill)


@dataclass(frozen=True)
class RandomHorizontalFlip(View):
    """Mirror a sample left to right with probability `p`; any dtype, which is kept.

    Args:
        p: probability, in [0, 1].
    """

    p: float = 0.5

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The images, some of them mirrored."""
        return _crop(x, None, draws.bernoulli(self.p), 0, 0)


@dataclass(frozen=True)
class RandomCropFlip(View):
    """`RandomCrop` and `RandomHorizontalFlip` in one pass over the pixels, with the draws of the two in that order.

    Args:
        padding: pixels added on each side, >= 0.
        fill: value of the added pixels.
        p: probability of mirroring, in [0, 1].
    """

    padding: int
    fill: float = 0
    p: float = 0.5

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The crops, some of them mirrored, of the shape of `x`."""
        corner = draws.integers(0, 2 * self.padding + 1, (2,))
        return _crop(x, corner, draws.bernoulli(self.p), self.padding, self.fill)


@dataclass(frozen=True)
class Normalize(View):
    """(pixel - mean) / std per channel, in float32.

    uint8 pixels are taken as pixel / 255, float ones as they are. Multiplied and added with constants of the channel, so
    a value may differ from the two divisions written above in the last digit.

    Args:
        mean: one value for each channel, of pixels in [0, 1].
        std: likewise, > 0.

    Raises:
        ValueError: if the two have different lengths or a `std` is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        # Configurations bring lists, which could be neither hashed nor compared with the constants.
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise ValueError(f"Normalize(mean={self.mean}, std={self.std}): give one mean and one positive std for each channel.")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, C, H, W) float32."""
        if x.shape[1] != len(self.mean):
            raise ValueError(
                f"Normalize has {len(self.mean)} means but the images have {x.shape[1]} channels: "
                "give one mean and one std for each channel."
            )
        top = 255.0 if x.dtype == torch.uint8 else 1.0
        scale = constant(tuple(1 / (top * std) for std in self.std), torch.float32, x.device).view(-1, 1, 1)
        shift = constant(tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True)), torch.float32, x.device).view(
            -1, 1, 1
        )
        result = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        for block in blocks(x):
            # Two roundings, not torch.addcmul: a fused one rounds otherwise in the tail of a vector, so by the batch's shape.
            result[block].copy_(x[block]).mul_(scale).add_(shift)
        return result


@dataclass(frozen=True)
class ToFloat(View):
    """float32; integer pixels are divided by `maximum`, float ones kept as they are.

    Args:
        maximum: the largest value an integer pixel can have.
    """

    maximum: float = 255.0

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """float32 of the shape of `x`."""
        return x.float() if x.is_floating_point() else x.float().div_(self.maximum)


@dataclass(frozen=True)
class ToBytes(View):
    """uint8 in 0..255: float pixels in [0, 1] and integers in 0..`maximum` are scaled and rounded.

    Args:
        maximum: the largest value an integer pixel can have.
    """

    maximum: float = 255.0

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """uint8 of the shape of `x`; of bytes up to 255 `x` itself."""
        if x.dtype == torch.uint8 and self.maximum == 255:
            return x
        scale = 255.0 if x.is_floating_point() else 255.0 / self.maximum
        return x.float().mul(scale).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Cutout(StrongView):
    """Erase a square around a pixel drawn per sample; the part outside the image is lost. Any dtype, which is kept.

    Args:
        size: side of the square in pixels, > 0.
        fill: value of the erased pixels; 127 for gray in uint8 images.
        relative_to: side of the images that `size` is meant for, such as 224; smaller images get the nearest even number of
            pixels in proportion to their shorter side, at least 2: 4, 6 and 8 of 32 for 30, 40 and 60 of 224. `None` for `size`
            pixels in any image.
    """

    size: int
    fill: float = 0
    relative_to: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("relative_to", self.relative_to)):
            if value is not None and value < 1:
                raise ValueError(f"Cutout: {name} must be at least 1 pixel, got {value}")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The images, each with a hole."""
        height, width = x.shape[-2:]
        size = self.size
        if self.relative_to is not None:
            size = max(2, 2 * round(self.size * min(height, width) / (2 * self.relative_to)))
        top = draws.integers(0, height) - size // 2
        left = draws.integers(0, width) - size // 2
        return erase(x, top, left, top + size, left + size, (self.fill,))


@dataclass(frozen=True)
class GaussianNoise(View):
    """Add normal noise to every pixel of float images; not clamped.

    Args:
        std: standard deviation, in units of the pixel values.
    """

    std: float

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The noisy images, dtype kept."""
        _require_float(x, self)
        return draws.normal(tuple(x.shape[1:])).mul_(self.std).add_(x).to(x.dtype)


@dataclass(frozen=True)
class Contrast(View):
    """Stretch float images around their own mean: mean + factor * (pixel - mean), factor per sample; not clamped.

    Args:
        low: smallest factor.
        high: largest factor.
    """

    low: float
    high: float

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The images with another contrast, dtype kept."""
        _require_float(x, self)
        factor = draws.uniform(self.low, self.high).view(-1, 1, 1, 1)
        # In float64 the order of summation, which depends on the batch's shape, does not reach the float32 result.
        mean = x.mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64).float()
        return (x - mean).mul_(factor).add_(mean).to(x.dtype)


def _require_float(x: Tensor, view: View) -> None:
    if not x.is_floating_point():
        raise TypeError(f"{view} takes float images in [0, 1], not {x.dtype}: put ToFloat() before it.")


def _crop(x: Tensor, corner: Tensor | None, mirrored: Tensor | None, padding: int, fill: float) -> Tensor:
    """Windows of the size of `x` out of padded `x`, at `corner` (B, 2) = (top, left), mirrored where (B,) asks for it."""
    if corner is None:
        corner = torch.full((len(x), 2), padding, dtype=torch.int64, device=x.device)
    by = _crop_by_copies if x.device.type == "cpu" else _crop_by_pixels
    return by(x, corner, mirrored, padding, fill)


def _crop_by_pixels(x: Tensor, corner: Tensor, mirrored: Tensor | None, padding: int, fill: float) -> Tensor:
    """`_crop` as one gather of single pixels, which suits a GPU."""
    rows, columns = (torch.arange(side, device=x.device).expand(len(x), side) for side in x.shape[-2:])
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], x.shape[-1] - 1 - columns, columns)
    rows, columns = rows + corner[:, :1], columns + corner[:, 1:]
    return take_pixels(F.pad(x, (padding,) * 4, value=fill), rows[:, :, None], columns[:, None, :])


def _crop_by_copies(x: Tensor, corner: Tensor, mirrored: Tensor | None, padding: int, fill: float) -> Tensor:
    """`_crop` by copies of whole planes, which suits a CPU: several times as fast as single pixels.

    With rows added above and below only, a shifted plane is one stretch of memory, read from another start. What the stretch
    brings from the end of the row before or the start of the next lies outside the image and is painted over.
    """
    batch, channels, height, width = x.shape
    result = torch.empty(x.shape, dtype=x.dtype)
    runs = blocks(x)
    if not result.numel():
        return result
    length, plane, area = runs[0].stop, (height + 2 * padding) * width, height * width
    top, left = corner.unbind(1)
    # Mirrored samples are read from a second, mirrored copy of the block, where they lie as far from the other side.
    copies, copy = 1, torch.arange(batch) % length
    if mirrored is not None:
        copies, copy, left = 2, copy + length * mirrored, torch.where(mirrored, 2 * padding - left, left)
    room = torch.empty(copies * length * channels * plane + 2 * padding, dtype=x.dtype)
    images = room[padding : len(room) - padding].view(copies, length, channels, -1, width)
    images[..., :padding, :] = fill
    images[..., padding + height :, :] = fill
    images = images[..., padding : padding + height, :]
    stretches = room.as_strided((len(room) - area + 1, area), (1, 1))
    start = (copy[:, None] * channels + torch.arange(channels)) * plane + (top * width + left)[:, None]
    keep, paint = _edges((height, width), padding, fill, x.dtype)
    for run in runs:
        part = x[run]
        images[0, : len(part)] = part
        if mirrored is not None:
            images[1, : len(part)] = part.flip(3)
        torch.index_select(stretches, 0, start[run].view(-1), out=result[run].view(-1, area))
        if padding:
            pixels = result[run].view(torch.uint8).view(len(part), channels, -1)
            pixels.bitwise_and_(keep.index_select(0, left[run])[:, None])
            if fill:
                pixels.bitwise_or_(paint.index_select(0, left[run])[:, None])
    return result


@lru_cache(maxsize=16)
def _edges(size: tuple[int, int], padding: int, fill: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For planes cut out at each left edge, 0..2 * padding: the bits to keep and those to set, as rows of bytes."""
    height, width = size
    with torch.inference_mode(False):
        column = torch.arange(width) + torch.arange(-padding, padding + 1)[:, None]
        color = torch.full((width,), fill, dtype=dtype).view(torch.uint8)
        keep = ((column >= 0) & (column < width)).to(torch.uint8).neg_().repeat_interleave(dtype.itemsize, 1)
        return keep.repeat(1, height), (color & ~keep).repeat(1, height)


def take_pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """out[b, c, i, j] = x[b, c, rows[b, i, j], columns[b, i, j]].

    Args:
        x: (B, C, H, W).
        rows: integer, broadcastable with `columns` to (B, I, J), in 0..H-1.
        columns: integer, in 0..W-1.

    Returns:
        (B, C, I, J), contiguous.
    """
    batch, channels, _, width = x.shape
    within = (rows * width + columns).long()
    shape = (batch, channels, *within.shape[1:])
    # One index for all channels, never laid out for each: on a CPU this is the fastest gather of bytes torch has.
    index = within.expand(batch, -1, -1).flatten(1)[:, None].expand(-1, channels, -1)
    return x.flatten(2).gather(2, index).view(shape)


def erase(x: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, fill: tuple[float, ...]) -> Tensor:
    """`x` with the rectangle [top, bottom) x [left, right) of each sample painted over.

    Args:
        x: (B, C, H, W).
        top: (B,) int64, may lie outside the image, as may the other three.
        left: (B,) int64.
        bottom: (B,) int64.
        right: (B,) int64.
        fill: one value for all channels or one for each.
    """
    hole = inside_boxes(x, top, left, bottom, right)
    return torch.where(hole, constant(fill, x.dtype, x.device).view(-1, 1, 1), x)


def inside_boxes(x: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """(B, 1, H, W) bool, where the pixels of each sample lie in its rectangle [top, bottom) x [left, right); see `erase`."""
    row = torch.arange(x.shape[-2], device=x.device)
    column = torch.arange(x.shape[-1], device=x.device)
    inside_rows = (row >= top[:, None]) & (row < bottom[:, None])
    inside_columns = (column >= left[:, None]) & (column < right[:, None])
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
