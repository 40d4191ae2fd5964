"""Columns of Python objects that may be pictures of Pillow or tensors of pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.frames.columns import Column, Media
from noisylab.data.frames.sniffing import media_kind
from noisylab.data.frames.values import column_of_values

__all__ = ["column_of_objects"]

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")  # that PNG files hold
_NEAR = 1e-3  # of a level of 255, by which a pixel of a float tensor may differ from a whole one


def column_of_objects(name: str, values: Sequence[Any]) -> tuple[Column, list[str]]:
    """The column of values that may also be pictures of Pillow, tensors, or the bytes of files.

    Args:
        name: of the column.
        values: (N) of one type, `None` where there is none.

    Returns:
        The column, and what the user is told about it.

    Raises:
        ValueError: tensors of two or three dimensions that are not pixels.
    """
    missing = np.array([value is None for value in values], dtype=bool)
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, Image.Image) for value in there):
        return Column("image", [Media() if value is None else Media(content=_png(value)) for value in values], missing), []
    if there and all(isinstance(value, bytes) for value in there):
        kind = media_kind(there[0])
        if kind is not None:
            return Column(kind, [Media(content=value) for value in values], missing), []
    plain = [value.detach().cpu().numpy() if isinstance(value, Tensor) else value for value in values]
    arrays = [value for value in plain if isinstance(value, np.ndarray)]
    if arrays and len(arrays) == len(there):
        if {array.ndim for array in arrays} == {0}:
            return column_of_values(name, [None if value is None else value.item() for value in plain])
        if {array.ndim for array in arrays} <= {2, 3}:
            pictures = [
                Media() if value is None else Media(content=_png(_picture(value, name, row))) for row, value in enumerate(plain)
            ]
            return Column("image", pictures, missing), []
    return column_of_values(name, plain)


def _png(picture: Image.Image) -> bytes:
    """The picture as a viewer shows it, without loss."""
    upright = ImageOps.exif_transpose(picture)
    file = io.BytesIO()
    (upright if upright.mode in _MODES else upright.convert("RGB")).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _picture(array: np.ndarray[Any, Any], name: str, row: int) -> Image.Image:
    """The picture of an array (H, W), (C, H, W) or (H, W, C) of whole pixels 0 to 255, or of these divided by 255."""
    where = f"{name} of row {row}, {'x'.join(map(str, array.shape))} of {array.dtype},"
    pixels = array
    if array.dtype.kind == "f":
        levels = array.astype(np.float64) * 255
        pixels = np.rint(levels)
        if (
            not np.isfinite(levels).all()
            or levels.min() < -_NEAR
            or levels.max() > 255 + _NEAR
            or np.abs(levels - pixels).max() > _NEAR
        ):
            raise ValueError(
                f"{where} is no picture: pixels are 0 to 255, or these divided by 255 as ToTensor does. Leave normalization and "
                "augmentation out of the data set; the data module does both. Numbers that are no pixels belong into vectors"
            )
    elif array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise ValueError(f"{where} is no picture: whole pixels are 0 to 255")
    pixels = pixels.astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise ValueError(f"{where} is no picture: it needs 1, 3 or 4 channels, (C, H, W)")
    return Image.fromarray(np.ascontiguousarray(pixels))
