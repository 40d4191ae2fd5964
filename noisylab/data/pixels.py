"""Pictures as pixels: held in memory where they are small and of one size, else opened whenever they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from torch import Tensor

from noisylab.data.arrays import pixel_statistics
from noisylab.data.examined import examine, with_depth
from noisylab.data.identity import depth_from, depth_numbers, no_rows
from noisylab.data.imagelist import ImageList, Sieve
from noisylab.data.imagerows import decode, file_rows
from noisylab.data.mirrored import decided, small_files, small_pictures
from noisylab.data.pictures import Depth, Head
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.source import Source
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ViewsBy,
    check_image_views,
    check_views_by,
    checked_strong,
    image_views,
    web_views,
)

__all__ = ["Load", "Pixels"]

Load: TypeAlias = Literal["auto", "memory", "files"]
"""Whether pictures are decoded once and held in memory, or opened whenever they are needed."""

_SMALL = 64  # pixels a side up to which images are held in memory
_MEMORY = 2**30  # bytes of pixels up to which they are


class Pixels:
    """How the pictures of a data set are kept and shown; the arguments are those of `ImageFolder`.

    Attributes:
        measured: what was measured on the training images; plain values, see `FittedData.measured`.
        depth: the bits that pictures with more than 8 are scaled by.
    """

    def __init__(
        self,
        size: int | None = None,
        resize: int | None = None,
        load: Load = "auto",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        padding: int = 4,
        flip: float | None = None,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        allow_truncated: bool = False,
    ) -> None:
        if load not in ("auto", "memory", "files"):
            raise ValueError(f"load must be 'auto', 'memory' or 'files', got {load!r}")
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}; leave it out to keep the images' own")
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got mean={mean}, std={std}; give both or neither")
        check_image_views(mean, std, padding, flip)
        if resize is not None and resize < 1:
            raise ValueError(f"resize must be at least 1 pixel, got {resize}; leave it out for 8/7 of size")
        self.size, self.resize, self.mode = size, resize, load
        self.mean, self.std, self.padding, self.flip = mean, std, padding, flip
        self.strong, self.views, self.allow_truncated = checked_strong(strong), check_views_by(views), allow_truncated
        self.measured: dict[str, Any] = {}
        self.depth: Depth | None = None

    def read(
        self, lists: Sequence[ImageList], sieve: Sieve, num_workers: int, adopted: Mapping[str, Any] | None
    ) -> tuple[list[ImageList], list[DenseRows | FileRows]]:
        """Check the images and, if they are held in memory, decode them.

        Args:
            lists: the training images and perhaps the test images.
            sieve: what becomes of those that cannot be read.
            num_workers: processes that open files.
            adopted: record of the model whose data these are, see `FittedData.adopt`.

        Returns:
            The lists without what was left out, and their rows.
        """
        looked = [sieve.heads(listed) for listed in lists]
        parts, heads = [part for part, _ in looked], [found for _, found in looked]
        size = self._memory_size([head for found in heads for head in found])
        if adopted is not None:
            size = _pair(adopted["measured"]["size"])
        stores: list[DenseRows | FileRows] = []
        if size is None:
            # all are decoded once before training, so that no worker process meets a broken file days later
            seen = [examine(part, self.allow_truncated, found) for part, found in zip(parts, heads, strict=True)]
            parts, self.depth = with_depth(parts, heads, self.allow_truncated, seen, adopted)
            parts = [sieve.keep(part, [one.fault for one in found]) for part, found in zip(parts, seen, strict=True)]
            stores += [file_rows(part, {}, num_workers, self.allow_truncated, self.depth) for part in parts]
            self.measured = {"size": None, "depth": depth_numbers(self.depth)}
            return parts, stores
        parts, self.depth = with_depth(parts, heads, self.allow_truncated, adopted=adopted)
        gray = all(head.gray for found in heads for head in found)
        if adopted is not None:
            gray = adopted["row"]["shape"][0] == 1
        decoded = [decode(part, size, gray, self.allow_truncated, self.depth) for part in parts]
        parts = [sieve.keep(part, faults) for part, (_, faults) in zip(parts, decoded, strict=True)]
        stores += [DenseRows(pixels) for pixels, _ in decoded]
        mean, std = pixel_statistics(decoded[0][0]) if self.mean is None or self.std is None else (self.mean, self.std)
        channels = decoded[0][0].shape[1]
        if len(mean) != channels or len(std) != channels:
            raise ValueError(f"mean={mean} and std={std} must have one value for each of {channels} channels")
        self.measured = {"size": list(size), "mean": list(mean), "std": list(std), "depth": depth_numbers(self.depth)}
        return parts, stores

    def fit(self, source: Source, rows: Tensor, given: Tensor, adopted: Mapping[str, Any] | None) -> None:
        """Decide what views need on the images that are trained on, or take it from the adopted model.

        Args:
            source: the data.
            rows: (M,) int64 labeled rows that are looked at.
            given: (N,) int64 given labels.
            adopted: see `read`.
        """
        self.measured = dict(adopted["measured"]) if adopted is not None else self.measured | self._decide(source, rows, given)
        for store in (source.train, source.test):
            if isinstance(store, FileRows):
                store.views = dict(self.view_set())

    def _decide(self, source: Source, rows: Tensor, given: Tensor) -> dict[str, Any]:
        """Whether images are mirrored."""
        store = source.train
        if isinstance(store, FileRows):
            paths = [store.paths[row] for row in rows.tolist()]
            small = partial(small_files, paths, self.allow_truncated, self.depth)
            return decided(self.flip, 3, small, given[rows], source)
        assert isinstance(store, DenseRows)
        return decided(self.flip, store.values.shape[1], partial(small_pictures, store.values[rows]), given[rows], source)

    def blank(self, num_workers: int, adopted: dict[str, Any]) -> DenseRows | FileRows:
        """An empty set of images, in memory or in files as in training; see `read` for the arguments."""
        self.measured = dict(adopted["measured"])
        self.depth = depth_from(self.measured["depth"])
        if self.measured["size"] is None:
            return FileRows([], self.view_set(), num_workers=num_workers, allow_truncated=self.allow_truncated, depth=self.depth)
        return no_rows(adopted)

    def view_set(self) -> Mapping[str, Any]:
        """Views of images in memory or of image files, known once the images are listed."""
        if not self.measured:
            raise RuntimeError("the views depend on the images, which are not listed yet; call setup() first")
        return self._file_views() if self.measured["size"] is None else self._memory_views()

    def _memory_size(self, heads: Sequence[Head]) -> tuple[int, int] | None:
        """(width, height) of the images held in memory; `None` when files are to be opened as needed."""
        sizes = {(head.width, head.height) for head in heads}
        wanted = (self.size, self.size) if self.size is not None else min(sizes)
        small = max(wanted) <= _SMALL and len(heads) * 3 * wanted[0] * wanted[1] <= _MEMORY
        if self.mode == "files" or (self.mode == "auto" and not (small and (self.size is not None or len(sizes) == 1))):
            return None
        if self.size is None and len(sizes) > 1:
            shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:3])
            raise ValueError(f"load='memory' needs one size, the images have {len(sizes)} ({shown} ...); set size")
        return wanted

    def _memory_views(self) -> dict[str, Any]:
        mean, std = self.measured["mean"], self.measured["std"]
        return dict(image_views(tuple(mean), tuple(std), self.padding, self.measured["flip"], self.strong))

    def _file_views(self) -> dict[str, Any]:
        size = 224 if self.size is None else self.size
        resize = round(size * 8 / 7) if self.resize is None else self.resize
        mean = IMAGENET_MEAN if self.mean is None else tuple(self.mean)
        std = IMAGENET_STD if self.std is None else tuple(self.std)
        return dict(web_views(resize, size, mean, std, self.strong, self.views, self.measured["flip"]))


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    return None if size is None else (size[0], size[1])
