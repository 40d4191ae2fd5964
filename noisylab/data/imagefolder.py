"""Your own image files: one folder per class, or a table of files and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from torch import Tensor

from noisylab.data.arrays import pixel_statistics
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import content_digests, digest_of
from noisylab.data.examined import examine, with_depth
from noisylab.data.identity import depth_from, depth_numbers, no_rows
from noisylab.data.imagelist import ImageList, Sieve, list_source
from noisylab.data.imageparts import image_lists
from noisylab.data.imagerows import decode, file_rows
from noisylab.data.labels import LabelNames
from noisylab.data.mirrored import decided, small_files, small_pictures, some_rows
from noisylab.data.missing import Missing
from noisylab.data.pictures import Depth, Head
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.suspicions import repeated
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

__all__ = ["ImageFolder"]

_SMALL = 64  # pixels a side up to which images are held in memory
_MEMORY = 2**30  # bytes of pixels up to which they are


class ImageFolder(NoisyDataModule):
    """Image files with their labels, from class folders or from a table.

    Either ``images/<class>/*.jpg`` (or any other image that Pillow reads), sub-folders included; or `labels_csv`, a table
    with a header and the columns ``file`` (relative to `images`), ``label`` and optionally ``true_label`` (empty where unknown;
    only reports see it, and `noise` cannot be added). Labels are text; classes are their sorted names. If the folders of `images`
    are called ``train`` and ``test`` (or ``val``), in any spelling, these are the training and the test images; with all three,
    ``val`` is not read. A column ``split`` of a table, with such words, is read alike, see `parts_of`. Images in a folder
    ``unlabeled`` beside the class folders or beside ``train``, and those of rows without a label, are unlabeled. docs/data.md
    says which files are images, what is left out, and how pictures are shown; `Source.account` says what was.

    Images of one size of at most 64 pixels a side, up to 1 GiB in all, are decoded once and held in memory, with the views of
    `image_views`; if all are gray they keep one channel. Others are opened by `num_workers` processes whenever they are needed,
    with the views of `web_views`; before training, every one is decoded once, see `examine`. Validation rows have the given
    labels unless ``val_labels="clean"``.

    Args:
        images: folder of the images.
        labels_csv: table of the training images.
        test_images: folder of the test images, as `images`.
        test_csv: table of the test images, relative to `test_images`, or to `images` without that.
        size: side of the square that a network sees, in pixels; larger images are cut to their middle. `None` keeps the size of
            images in memory and takes 224 for others.
        resize: length of the shorter side before a square of `size` is cut out, for images that are not in memory; `None` for
            8/7 of `size`.
        load: "memory", "files", or "auto" as said above.
        mean: per channel, of pixels in [0, 1]; `None` measures it for images in memory and takes ImageNet's for others.
        std: likewise.
        padding: largest shift of the random crop of images in memory, in pixels.
        flip: probability of mirroring an image; `None` for 0 for gray images in memory, and for others 0.5 where a test finds
            that mirrored images keep their class, see `noisylab.data.mirrored.mirroring`.
        allow_truncated: fill up JPEG files that end early with gray instead of refusing them.
        skip_unreadable: leave out, with a warning, images that are missing or cannot be read to their end, instead of refusing
            the data. `skipped` names them.
        file_column: column of the files in the tables, if it is not ``file``.
        label_column: column of the labels, if it is not ``label``.
        missing: labels in the tables that stand for no label: "auto" (or "all") for empty cells, the words that pandas reads as
            missing (``NA``, ``nan``, ``None`` ...) and, among whole numbers, -1; "none" to take every word, and every folder, for
            a class; or a list of labels, and of class folders.
        use_unlabeled: keep training images without a label as unlabeled rows, behind all others. False leaves them out, unopened.
        strong: what the view "strong" does after crop and flip: `RandAugment`, `FixMatchStrong`, `AugMix`, `TrivialAugment`,
            `AutoAugment` or `Cutout`, with their arguments; `None` for AutoAugment of color images in memory, contrast and noise
            of gray ones, and RandAugment of the package `randaugment` of others.
        views: who makes the views of images that are not in memory: "pil" for the `num_workers` processes alone, "device" for
            these to decode, resize and cut, and the training device to do the rest, see `web_views`.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, when a folder or the table is missing.
        ValueError: in ``setup``, naming the files and rows at fault.
    """

    path_arguments = ("images", "labels_csv", "test_images", "test_csv")

    def __init__(
        self,
        images: str,
        labels_csv: str | None = None,
        test_images: str | None = None,
        test_csv: str | None = None,
        size: int | None = None,
        resize: int | None = None,
        load: Literal["auto", "memory", "files"] = "auto",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        padding: int = 4,
        flip: float | None = None,
        allow_truncated: bool = False,
        skip_unreadable: bool = False,
        file_column: str | None = None,
        label_column: str | None = None,
        missing: Missing = "auto",
        use_unlabeled: bool = True,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if load not in ("auto", "memory", "files"):
            raise ValueError(f"load must be 'auto', 'memory' or 'files', got {load!r}")
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}; leave it out to keep the images' own")
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got mean={mean}, std={std}; give both or neither")
        check_image_views(mean, std, padding, flip)
        if resize is not None and resize < 1:
            raise ValueError(f"resize must be at least 1 pixel, got {resize}; leave it out for 8/7 of size")
        self.images, self.labels_csv, self.test_images, self.test_csv = images, labels_csv, test_images, test_csv
        self.size, self.resize, self.mode = size, resize, load
        self.mean, self.std, self.padding, self.flip = mean, std, padding, flip
        self.allow_truncated, self.skip_unreadable = allow_truncated, skip_unreadable
        self.file_column, self.label_column, self.missing = file_column, label_column, missing
        self.use_unlabeled = use_unlabeled
        self.strong, self.views = checked_strong(strong), check_views_by(views)
        self.skipped: list[str] = []
        self.depth: Depth | None = None
        self._measured: dict[str, Any] = {}
        self._parts: list[ImageList] = []
        self._contents: list[list[bytes]] = []

    @property
    def source_classes(self) -> int:
        """The number of classes, counted in folder names or the table, without opening an image."""
        return len(self._classes.names)

    @cached_property
    def _classes(self) -> LabelNames:
        return LabelNames.of(np.array(self._lists[0].classes), None, f"the labels of {self._lists[0].where}")

    @cached_property
    def _lists(self) -> tuple[ImageList, ImageList | None]:
        """The training and the test images."""
        columns = self.file_column, self.label_column
        return image_lists(
            self.images, self.labels_csv, self.test_images, self.test_csv, *columns, self.missing, self.use_unlabeled
        )

    @property
    def image_paths(self) -> list[str]:
        """(N) files of the training images. Needs ``setup``."""
        return [str(self._lists[0].folder / name) for name in self.source.names or ()]

    def load(self) -> Source:
        """List and check the images and, if they are held in memory, decode them."""
        sieve = Sieve(self.skip_unreadable)
        heads: list[list[Head]] = []
        parts: list[ImageList] = []
        for listed in (part for part in self._lists if part is not None):
            part, found = sieve.heads(listed)
            parts.append(part)
            heads.append(found)
        size = self._memory_size([head for found in heads for head in found])
        if self.adopted is not None:
            size = _pair(self.adopted["measured"]["size"])
        stores: list[DenseRows | FileRows] = []
        if size is None:
            # all are decoded once before training, so that no worker process meets a broken file days later
            seen = [examine(part, self.allow_truncated, found) for part, found in zip(parts, heads, strict=True)]
            parts, self.depth = with_depth(parts, heads, self.allow_truncated, seen, self.adopted)
            parts = [sieve.keep(part, [one.fault for one in found]) for part, found in zip(parts, seen, strict=True)]
            stores += [file_rows(part, {}, self.num_workers, self.allow_truncated, self.depth) for part in parts]
            self._measured = {"size": None, "depth": depth_numbers(self.depth)}
        else:
            parts, self.depth = with_depth(parts, heads, self.allow_truncated, adopted=self.adopted)
            gray = all(head.gray for found in heads for head in found)
            if self.adopted is not None:
                gray = self.adopted["row"]["shape"][0] == 1
            decoded = [decode(part, size, gray, self.allow_truncated, self.depth) for part in parts]
            parts = [sieve.keep(part, faults) for part, (_, faults) in zip(parts, decoded, strict=True)]
            stores += [DenseRows(pixels) for pixels, _ in decoded]
            mean, std = pixel_statistics(decoded[0][0]) if self.mean is None or self.std is None else (self.mean, self.std)
            channels = decoded[0][0].shape[1]
            if len(mean) != channels or len(std) != channels:
                raise ValueError(f"mean={mean} and std={std} must have one value for each of {channels} channels")
            self._measured = {"size": list(size), "mean": list(mean), "std": list(std), "depth": depth_numbers(self.depth)}
        self._parts, self.skipped = parts, sieve.names
        sieve.warn()
        source = list_source(list(zip(parts, stores, strict=True)), self._classes)
        self._contents = [content_digests(part.paths) for part in parts] if len(parts) > 1 else []
        source.account += repeated(self._contents[0], self._contents[1], parts[1].names) if self._contents else []
        return source

    def digests(self) -> tuple[str, str | None]:
        """Digests of the content of the files."""
        found = [digest_of(each) for each in self._contents or [content_digests(part.paths) for part in self._parts]]
        return found[0], found[1] if len(found) > 1 and not self.folds else None

    def measured(self) -> dict[str, Any]:
        """Size of images in memory, statistics of their pixels."""
        return self._measured

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Take the measurements from the adopted model, if there is one."""
        if self.adopted is not None:
            self._measured = dict(self.adopted["measured"])
        else:
            self._measured |= self._decide(source, some_rows(rows[given[rows] >= 0]), given)
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

    def blank(self) -> DenseRows | FileRows:
        """An empty set of images, in memory or in files as in training."""
        assert self.adopted is not None
        self._measured = dict(self.adopted["measured"])
        self.depth = depth_from(self._measured["depth"])
        if self._measured["size"] is None:
            return FileRows(
                [], self.view_set(), num_workers=self.num_workers, allow_truncated=self.allow_truncated, depth=self.depth
            )
        return no_rows(self.adopted)

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
        mean, std = self._measured["mean"], self._measured["std"]
        return dict(image_views(tuple(mean), tuple(std), self.padding, self._measured["flip"], self.strong))

    def _file_views(self) -> dict[str, Any]:
        size = 224 if self.size is None else self.size
        resize = round(size * 8 / 7) if self.resize is None else self.resize
        mean = IMAGENET_MEAN if self.mean is None else tuple(self.mean)
        std = IMAGENET_STD if self.std is None else tuple(self.std)
        return dict(web_views(resize, size, mean, std, self.strong, self.views, self._measured["flip"]))

    def view_set(self) -> Mapping[str, Any]:
        """Views of images in memory or of image files, known once the images are listed."""
        if not self._measured:
            raise RuntimeError("the views depend on the images, which are not listed yet; call setup() first")
        return self._file_views() if self._measured["size"] is None else self._memory_views()


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    return None if size is None else (size[0], size[1])
