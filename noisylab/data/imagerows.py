"""The images of a list as rows: decoded at once, or opened on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.imagelist import ImageList
from noisylab.data.pictures import Depth, StoredPicture, fault_of, open_image
from noisylab.data.rows import FileRows
from noisylab.data.storedpictures import StoredPictures
from noisylab.data.textcolumn import TextColumn

__all__ = ["decode", "file_rows"]

_THREADS = 8  # decoders run side by side


def file_rows(
    images: ImageList, views: Mapping[str, Any], num_workers: int, allow_truncated: bool, depth: Depth | None = None
) -> FileRows:
    """The images as rows that are opened on demand."""
    whole = images.files is not None or any(map(os.path.isabs, images.names))  # a name with its own folder
    paths: Sequence[str]
    if images.files is not None and any(isinstance(path, StoredPicture) for path in images.files):
        paths = StoredPictures.of(images.files)
    else:
        paths = TextColumn.of(images.paths) if whole else TextColumn.of(images.names, prefix=f"{images.folder}{os.sep}")
    return FileRows(paths, views, num_workers=num_workers, allow_truncated=allow_truncated, depth=depth)


def decode(
    images: ImageList, size: tuple[int, int], gray: bool, allow_truncated: bool, depth: Depth | None = None
) -> tuple[Tensor, list[str]]:
    """Pixels of images; images of another size than (width, height) are scaled and center-cropped.

    Returns:
        (M, 1 or 3, H, W) uint8 of those that can be read, and as `unreadable` why others cannot.
    """
    width, height = size
    pixels = np.empty((len(images), 1 if gray else 3, height, width), dtype=np.uint8)

    def read(place: int, path: str) -> str:
        try:
            image = open_image(path, "L" if gray else "RGB", allow_truncated=allow_truncated, depth=depth)
        except ValueError as error:
            return fault_of(error)
        if image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        pixels[place] = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
        return ""

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        faults = list(pool.map(read, range(len(images)), images.paths))
    if any(faults):
        pixels = pixels[[not fault for fault in faults]]
    return torch.from_numpy(pixels), faults
