"""Small pictures of training samples, for a page that people look through."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from noisylab.data.base import NoisyDataModule
from noisylab.data.pictures import Depth, open_image
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.shards.rows import ShardRows

__all__ = ["thumbnails"]

_FEW_LEVELS = 64  # a uint8 data set whose brightest pixel is darker counts gray levels, such as the 0..16 of the digits
_QUALITY = 85
_CHUNK = 256  # rows brought to the host at once


def thumbnails(data: NoisyDataModule, index: Sequence[int], size: int = 96) -> dict[int, bytes] | None:
    """Pictures of some training rows.

    Images of at most half of `size` pixels are enlarged by a whole number, each pixel to a square, and saved as PNG; larger ones
    are brought to at most `size` and saved as JPEG. Images in memory are uint8 in 0..255, or uint8 with few gray levels, which
    are scaled so that the data's brightest pixel is white, or float in [0, 1].

    Args:
        data: after its ``setup``. An attribute `image_paths`, one file for each of the N rows, comes before the rows themselves,
            which may then be features.
        index: rows of the original training set.
        size: length of the longer side, in pixels.

    Returns:
        The JPEG or PNG file of each row by its place in `index`, 0 for the first; a row whose file cannot be read has none.
        `None` when the rows are no images: features, sparse rows, several views.

    Raises:
        ValueError: when `size` is below 1.
        IndexError: for a row that the data does not have.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    store = data.source.train
    wrong = [row for row in index if not 0 <= row < len(store)]
    if wrong:
        raise IndexError(f"index has row {wrong[0]}, but there are {len(store)} training rows, counted from 0")
    paths: Sequence[str] | None = getattr(data, "image_paths", None)
    if paths is not None:
        return _of_files(paths, index, size, getattr(data, "allow_truncated", False), getattr(data, "depth", None))
    if isinstance(store, FileRows):
        return _of_files(store.paths, index, size, store.allow_truncated, store.depth)
    if isinstance(store, ShardRows):
        return _of_tensor(DenseRows(store.gather(torch.tensor(index, dtype=torch.int64))), range(len(index)), size)
    return _of_tensor(store, index, size) if isinstance(store, DenseRows) else None


def _of_files(
    paths: Sequence[str], index: Sequence[int], size: int, allow_truncated: bool, depth: Depth | None
) -> dict[int, bytes]:
    def picture(row: int) -> bytes | None:
        try:
            return _encode(open_image(paths[row], allow_truncated=allow_truncated, depth=depth), size)
        except ValueError:  # the file was there in training; the page says that it has no picture
            return None

    with ThreadPoolExecutor(max_workers=8) as pool:
        return {place: picture for place, picture in enumerate(pool.map(picture, index)) if picture is not None}


def _of_tensor(store: DenseRows, index: Sequence[int], size: int) -> dict[int, bytes] | None:
    values = store.values
    if values.ndim != 4 or values.shape[1] not in (1, 3) or not values.numel():
        return None
    whole = values.dtype == torch.uint8
    if not whole and not (values.is_floating_point() and bool((values.amin() >= 0) & (values.amax() <= 1))):
        return None
    brightest = int(values.max()) if whole else 1
    white = (max(brightest, 1) if brightest < _FEW_LEVELS else 255) if whole else 1
    return {place: _encode(_image(pixels), size) for place, pixels in enumerate(_pixels(store, index, white))}


def _pixels(store: DenseRows, index: Sequence[int], white: int) -> Iterable[NDArray[np.uint8]]:
    """(H, W, C) of each row, `white` becoming 255."""
    for start in range(0, len(index), _CHUNK):
        rows = store.gather(torch.tensor(index[start : start + _CHUNK], dtype=torch.int64)).cpu()
        scaled = rows if white == 255 else (rows.double() * (255 / white)).round().to(torch.uint8)
        yield from scaled.permute(0, 2, 3, 1).numpy()


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def _encode(image: Image.Image, size: int) -> bytes:
    file = io.BytesIO()
    factor = size // max(image.size)
    if factor >= 2:
        width, height = image.size
        image.resize((factor * width, factor * height), Image.Resampling.NEAREST).save(file, "PNG")
    else:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)  # never enlarges
        image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
