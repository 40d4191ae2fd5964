"""The views of contrastive learning, on batches: random crops scaled back to size, color jitter, gray images.

Pixels are floats in [0, 1]: put `ToFloat` before these views.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from noisylab.transforms.base import Compose, View, to_device
from noisylab.transforms.draws import Draws
from noisylab.transforms.image import RandomHorizontalFlip, ToFloat, take_pixels
from noisylab.transforms.pil import PILView, normalized, pixels_of

__all__ = ["ColorJitter", "PILSimCLR", "RandomGray", "RandomResizedCrop", "random_region", "simclr_view"]

_TRIES = 10  # of a crop, before the whole image is taken
_LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class RandomResizedCrop(View):
    """Cut out a random rectangle for each sample and scale it to the image's size, bilinearly, repeating the rectangle's border.

    Its share of the image's area is uniform in `scale`; its width over its height is in `ratio`, on a logarithmic scale. Of ten
    such draws, the first that fits into the image is used, at a uniform position. If none fits, the whole image is used, or the
    largest centered part of it whose ratio is in range.

    Args:
        scale: smallest and largest share of the area, in (0, 1].
        ratio: smallest and largest width over height.

    Raises:
        ValueError: for limits out of order or out of range.

    Source: `torchvision.transforms.RandomResizedCrop`, which draws in the same way.
    """

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):  # configurations bring lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"{self}: scale must be 0 < low <= high <= 1 and ratio 0 < low <= high")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """float32 of the shape of `x`."""
        _require_float(x, self)
        top, left, height, width = self.draw(draws, (x.shape[-2], x.shape[-1]))
        return resized_crop(x.float(), top, left, height, width)

    def draw(self, draws: Draws, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(top, left, height, width), each (B,) int64, of a rectangle for each sample.

        Args:
            draws: of the samples.
            size: (H, W) of the images.
        """
        tall, wide = size
        area = draws.uniform(*self.scale, shape=(_TRIES,)) * (tall * wide)
        log_ratio = draws.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), shape=(_TRIES,))
        spread = (log_ratio / 2).exp()
        height, width = (area.sqrt() / spread).round().long(), (area.sqrt() * spread).round().long()
        fits = (height > 0) & (height <= tall) & (width > 0) & (width <= wide)
        first = fits.to(torch.int8).argmax(1, keepdim=True)
        found, own = fits.any(1), wide / tall
        low, high = self.ratio
        rest = (min(tall, max(round(wide / low), 1)), wide) if own < low else (tall, min(wide, max(round(tall * high), 1)))
        height = torch.where(found, height.gather(1, first)[:, 0], rest[0])
        width = torch.where(found, width.gather(1, first)[:, 0], rest[1])
        places = draws.uniform(shape=(2,))
        top, left = (places[:, 0] * (tall - height + 1)).long(), (places[:, 1] * (wide - width + 1)).long()
        middle = (tall - height) // 2, (wide - width) // 2
        return torch.where(found, top, middle[0]), torch.where(found, left, middle[1]), height, width


def resized_crop(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """A rectangle of each image, scaled to the image's size.

    Args:
        x: (B, C, H, W) float32.
        top: (B,) int64 first row.
        left: (B,) int64 first column.
        height: (B,) int64, at least 1; the rectangle lies within the image.
        width: (B,) int64, likewise.
    """
    above, below, down = _taps(height, x.shape[-2])
    before, after, right = _taps(width, x.shape[-1])
    rows = [(top[:, None] + place)[:, :, None] for place in (above, below)]
    columns = [(left[:, None] + place)[:, None, :] for place in (before, after)]
    right, down = right[:, None, None, :], down[:, None, :, None]
    lines = []
    for row in rows:
        first, second = (take_pixels(x, row, column) for column in columns)
        lines.append(first + (second - first) * right)
    return lines[0] + (lines[1] - lines[0]) * down


def _taps(length: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """For `size` points spread over `length` (B,) pixels: the pixels before and after each, and the latter's weight."""
    place = (torch.arange(size, device=length.device) + 0.5) * (length[:, None].double() / size) - 0.5
    place = place.clamp(min=0.0)
    low = place.floor()
    first = torch.minimum(low.long(), length[:, None] - 1)
    second = torch.minimum(first + 1, length[:, None] - 1)
    return first, second, (place - low).float()


@dataclass(frozen=True)
class ColorJitter(View):
    """With probability `p`, change brightness, contrast, saturation and hue, by factors and in an order drawn per sample.

    Gray images have no saturation or hue to change. Each result is clipped to [0, 1].

    Args:
        brightness: largest change of the factor from 1, in [0, 1].
        contrast: likewise.
        saturation: likewise.
        hue: largest shift, as a share of the color circle, in [0, 0.5].
        p: probability, in [0, 1].

    Raises:
        ValueError: for an argument outside its range.

    Source: `torchvision.transforms.ColorJitter`.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8

    def __post_init__(self) -> None:
        shares = (self.brightness, self.contrast, self.saturation, self.p)
        if not all(0 <= value <= 1 for value in shares) or not 0 <= self.hue <= 0.5:
            raise ValueError(f"{self}: hue must be in [0, 0.5], all others in [0, 1]")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """float32 of the shape of `x`."""
        _require_float(x, self)
        host = draws.on_host()
        turns = host.uniform(shape=(4,)).argsort(dim=1, stable=True)  # what happens first, second, ...
        jittered = host.bernoulli(self.p)
        spread = (self.brightness, self.contrast, self.saturation, self.hue)
        amount = [draws.uniform(-value, value) + (0.0 if place == 3 else 1.0) for place, value in enumerate(spread)]
        plan = [
            (step, change, (jittered & (turns[:, step] == change)).nonzero()[:, 0]) for step in range(4) for change in range(4)
        ]
        if x.shape[1] == 1:
            plan = [part for part in plan if part[1] < 2]
        rows = to_device(torch.cat([rows for _, _, rows in plan]), x.device)
        result = x.to(torch.float32, copy=True)
        for (_, change, some), places in zip(plan, rows.split([len(some) for _, _, some in plan]), strict=True):
            if len(some):
                changed = _CHANGES[change](
                    result.index_select(0, places), amount[change].index_select(0, places).view(-1, 1, 1, 1)
                )
                result.index_copy_(0, places, changed)
        return result


@dataclass(frozen=True)
class RandomGray(View):
    """Make a color image gray with probability `p`, in all three channels; images with one channel do not change.

    Args:
        p: probability, in [0, 1].
    """

    p: float = 0.2

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """float32 of the shape of `x`."""
        _require_float(x, self)
        gray = draws.bernoulli(self.p).view(-1, 1, 1, 1)
        return x if x.shape[1] == 1 else torch.where(gray, luma(x), x.float())


def luma(x: Tensor) -> Tensor:
    """(B, 1, H, W) float32 gray levels of images (B, C, H, W), C = 1 or 3."""
    if x.shape[1] == 1:
        return x.float()
    red, green, blue = x.float().unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def _brighter(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(0, 1)


def _more_contrast(x: Tensor, factor: Tensor) -> Tensor:
    # in float64 the order of summation, which depends on the batch's shape, does not reach the float32 result
    mean = luma(x).mean((1, 2, 3), keepdim=True, dtype=torch.float64).float()
    return (mean + factor * (x - mean)).clamp_(0, 1)


def _more_color(x: Tensor, factor: Tensor) -> Tensor:
    gray = luma(x)
    return (gray + factor * (x - gray)).clamp_(0, 1)


def _other_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Colors turned on the color circle; value and saturation of HSV stay."""
    high, low = x.amax(1), x.amin(1)
    chroma = high - low
    some = torch.where(chroma == 0, 1.0, chroma)
    red, green, blue = x.unbind(1)
    hue = torch.where(
        high == red,
        (green - blue) / some,
        torch.where(high == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    hue = hue + 6 * shift[:, 0]
    parts = []
    for place in (5, 3, 1):
        k = torch.remainder(place + hue, 6)
        parts.append(high - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(parts, 1).clamp_(0, 1)


_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_brighter, _more_contrast, _more_color, _other_hue)


def simclr_view(after: View | None, *, flip: float, least: float = 0.2, maximum: float = 255.0) -> View:
    """SimCLR's view of small images: a crop scaled back to size, flip, color jitter, gray; no blur.

    Args:
        after: a view to apply afterwards, such as a `Normalize` of pixels in [0, 1]; None for none.
        flip: probability of mirroring.
        least: smallest share of the image in a crop, in (0, 1].
        maximum: the largest value an integer pixel can have.

    Source: the CIFAR view of SupContrast (github.com/HobbitLong/SupContrast), which C2D pretrains with; Chen, Kornblith, Norouzi
    and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
    """
    views: list[View] = [ToFloat(maximum), RandomResizedCrop((least, 1.0))]
    views += [RandomHorizontalFlip(flip)] if flip else []
    views += [ColorJitter(), RandomGray()]
    return Compose(*views, *([] if after is None else [after]))


def _require_float(x: Tensor, view: View) -> None:
    if not x.is_floating_point():
        raise TypeError(f"{view} takes float images in [0, 1], not {x.dtype}: put ToFloat() before it.")


@dataclass(frozen=True)
class PILSimCLR(PILView):
    """SimCLR's view of one large image, in loader workers.

    Args:
        crop: side of the result, in pixels.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        flip: probability of mirroring left to right.
        least: smallest share of the image in a crop, in (0, 1].
    """

    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: float = 0.5
    least: float = 0.2

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """(3, crop, crop) float32."""
        image = image.convert("RGB")
        top, left, height, width = random_region(image.width, image.height, rng, self.least)
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((self.crop, self.crop), Image.Resampling.BILINEAR)
        if rng.random() < self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.8:
            for change in rng.sample(range(4), 4):
                if change == 3:
                    image = _turn_hue(image, rng.uniform(-0.1, 0.1))
                else:
                    image = _ENHANCERS[change](image).enhance(rng.uniform(0.6, 1.4))
        if rng.random() < 0.2:
            image = image.convert("L").convert("RGB")
        return normalized(pixels_of(image), self.mean, self.std)


def random_region(width: int, height: int, rng: random.Random, least: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random region of an image; the largest centered square where ten tries do not fit.

    Args:
        width: of the image, in pixels.
        height: likewise.
        rng: see `PILView`.
        least: smallest share of the area, in (0, 1].
    """
    for _ in range(_TRIES):
        area = width * height * rng.uniform(least, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide
    side = min(width, height)
    return (height - side) // 2, (width - side) // 2, side, side


_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def _turn_hue(image: Image.Image, shift: float) -> Image.Image:
    """The colors of an RGB image turned by a share of the color circle."""
    hue, saturation, value = image.convert("HSV").split()
    turned = np.array(hue, dtype=np.uint8) + np.uint8(int(shift * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
