"""Listed pictures of one size as rows in memory."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisylab.arguments import AtLeastOne, Count, check_arguments
from noisylab.data.imagelist import Sieve
from noisylab.data.imagerows import decode
from noisylab.data.named.listed import ListedImages
from noisylab.data.named.lists import ListedFiles
from noisylab.data.rows import DenseRows
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import IMAGENET_MEAN, IMAGENET_STD, check_image_views, checked_strong, cifar_views

__all__ = ["SmallImages", "check_room"]


class SmallImages(ListedImages, ABC):
    """Listed pictures of one size that are held in memory, and their views. A level of its own below `ListedImages` because the
    sets of small pictures differ in their release alone.

    Args:
        root: folder of the release.
        size: side of the pictures, in pixels; those of another size are scaled and cut to their middle.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        padding: largest shift of the crop, in pixels.
        strong: what the view "strong" does after crop and flip; `None` for AutoAugment.
        allow_truncated: see `ListedImages`.
        **kwargs: see `ListedImages`.
    """

    def __init__(
        self,
        root: str,
        size: AtLeastOne = 64,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        padding: Count = 4,
        strong: StrongView | None = None,
        allow_truncated: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, allow_truncated=allow_truncated, **kwargs)
        check_arguments(type(self), {"size": size, "padding": padding})
        check_image_views(mean, std, padding)
        self.size = size
        self._transforms = cifar_views(tuple(mean), tuple(std), padding, checked_strong(strong))

    def store(self, files: ListedFiles) -> DenseRows:
        """The pictures in memory.

        Raises:
            ValueError: listing up to ten pictures that cannot be read, with their lines; or when they do not fit into memory.
        """
        check_room(len(files), self.size, "choose a smaller size, or end other programs")
        images = files.images()
        pixels, faults = decode(images, (self.size, self.size), gray=False, allow_truncated=self.allow_truncated)
        Sieve().keep(images, faults)
        return DenseRows(pixels)


def check_room(count: int, side: int, advice: str) -> None:
    """Refuse color pictures that do not fit into memory.

    Args:
        count: how many.
        side: of each, in pixels.
        advice: what to do about it.
    """
    needed, free = 3 * side**2 * count, _free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"{count:,} pictures of {side} x {side} pixels take {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB "
            f"are free; {advice}"
        )


def _free_memory() -> int | None:
    """Bytes that programs can still have; `None` where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
