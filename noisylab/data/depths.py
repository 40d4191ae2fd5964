"""Pictures with more than 8 bits a channel: the bits that are in use, and the picture scaled by them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

__all__ = ["ADVICE", "Depth", "Pixels", "UnreadableImage", "bits_in_use", "scaled_colors", "scaled_grays"]

ADVICE = "; remove it from the data, replace the file, or leave such images out with skip_unreadable"

Pixels: TypeAlias = np.ndarray[Any, Any]


class UnreadableImage(ValueError):
    """An image file that cannot be read; the message names it and says why and what to do."""


class Depth(NamedTuple):
    """The number of values per channel in files with more than 8 bits.

    A camera of 12 bits writes 0..4095 into files of 16. Scaled by what a file could hold, its pictures would be black, with 16
    levels. So they are scaled by what is used: the fewest bits that hold the largest value.

    Args:
        whole: bits of whole numbers, at least 8.
        real: bits of floating-point numbers; 0 where none is above 1, which then is white.
    """

    whole: int = 8
    real: int = 0

    def joined(self, other: Depth) -> Depth:
        """A depth that holds the values of both."""
        return Depth(max(self.whole, other.whole), max(self.real, other.real))


def bits_in_use(values: Pixels, path: str) -> Depth:
    """The bits in use; alpha, the last of two or four channels, does not count.

    Raises:
        UnreadableImage: naming the file, where values are no brightness.
    """
    seen = values[..., :-1] if values.ndim == 3 and values.shape[-1] in (2, 4) else values
    least, most = seen.min(), seen.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        raise UnreadableImage(f"cannot read the image {path}: it has pixels that are nan or infinite{ADVICE}")
    if least < 0:
        raise UnreadableImage(
            f"cannot read the image {path}: its pixels are {least:g} to {most:g}, and brightness cannot be below 0; save it with "
            f"8 or 16 bits{ADVICE}"
        )
    if values.dtype.kind == "f" and most <= 1:
        return Depth()
    bits = max(8, int(most).bit_length())
    return Depth(real=bits) if values.dtype.kind == "f" else Depth(whole=bits)


def _eight_bits(values: Pixels, depth: Depth) -> Pixels:
    """uint8; what is brighter than the depth allows is white."""
    if values.dtype.kind != "f":
        return (values >> max(depth.whole - 8, 0)).clip(0, 255).astype(np.uint8)
    scaled = np.nan_to_num(values, nan=0.0).astype(np.float64) * (255.0 if depth.real == 0 else 2.0 ** (8 - depth.real))
    return (scaled.round() if depth.real == 0 else scaled).clip(0, 255).astype(np.uint8)


def scaled_grays(image: Image.Image, depth: Depth) -> Image.Image:
    """A gray image, with alpha where a value stands for transparency."""
    values = np.asarray(image)
    gray = _eight_bits(values, depth)
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0:  # white is zero
        gray = 255 - gray
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        return Image.fromarray(np.dstack([gray, np.where(values == clear, 0, 255).astype(np.uint8)]))
    return Image.fromarray(gray)


def scaled_colors(image: Image.Image, wide: Pixels, depth: Depth) -> Image.Image:
    """A color image of channels (H, W, 1 to 4) uint16, with alpha where there is one or a color stands for transparency."""
    clear = image.info.get("transparency")
    alpha = [(wide[..., -1:] >> 8).astype(np.uint8)] if wide.shape[-1] in (2, 4) else []
    if not alpha and isinstance(clear, tuple):
        alpha = [np.where((wide == np.array(clear)).all(-1, keepdims=True), 0, 255).astype(np.uint8)]
    colors = wide[..., :-1] if wide.shape[-1] in (2, 4) else wide
    return Image.fromarray(np.ascontiguousarray(np.concatenate([_eight_bits(colors, depth), *alpha], axis=-1)))
