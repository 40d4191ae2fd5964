"""Listed pictures of one size as rows in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from noisylab.data.imagelist import Sieve
from noisylab.data.named.lists import ListedFiles
from noisylab.data.pictures import UnreadableImage, fault_of, open_image
from noisylab.data.rows import DenseRows

__all__ = ["pixels_in_memory"]

_THREADS = 8  # decoders run side by side


def pixels_in_memory(files: ListedFiles, size: int, allow_truncated: bool) -> DenseRows:
    """The pictures as (N, 3, size, size) uint8; those of another size are scaled and cut to their middle.

    Args:
        files: N pictures.
        size: side, in pixels.
        allow_truncated: see `open_image`.

    Raises:
        ValueError: listing up to ten pictures that cannot be read, with their lines; or when they do not fit into memory.
    """
    needed, free = 3 * size**2 * len(files), _free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"{len(files):,} pictures of {size} x {size} pixels take {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free; choose a smaller size, or end other programs"
        )
    pixels = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    target = pixels.numpy()

    def read(place: int) -> str:
        path = str(files.folder / files.names[place])
        try:
            image = open_image(path, allow_truncated=allow_truncated)
        except UnreadableImage as error:
            return fault_of(error)
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        target[place] = np.asarray(image).transpose(2, 0, 1)
        return ""

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        faults = list(pool.map(read, range(len(files)), chunksize=64))
    Sieve().keep(files.images(), faults)
    return DenseRows(pixels)


def _free_memory() -> int | None:
    """Bytes that programs can still have; `None` where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
