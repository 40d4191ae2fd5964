"""Your own image files: one folder per class, or a table of files and labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import content_digests, digest_of
from noisylab.data.imagelist import ImageList, Sieve, list_source
from noisylab.data.imageparts import image_lists
from noisylab.data.labels import LabelNames
from noisylab.data.mirrored import some_rows
from noisylab.data.missing import Missing
from noisylab.data.pictures import Depth
from noisylab.data.pixels import Load, Pixels
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.suspicions import repeated
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import ViewsBy

__all__ = ["ImageFolder"]


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
        load: Load = "auto",
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
        self.pixels = Pixels(size, resize, load, mean, std, padding, flip, strong, views, allow_truncated)
        self.images, self.labels_csv, self.test_images, self.test_csv = images, labels_csv, test_images, test_csv
        self.allow_truncated, self.skip_unreadable = allow_truncated, skip_unreadable
        self.file_column, self.label_column, self.missing = file_column, label_column, missing
        self.use_unlabeled = use_unlabeled
        self.skipped: list[str] = []
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
        lists = [part for part in self._lists if part is not None]
        parts, stores = self.pixels.read(lists, sieve, self.num_workers, self.adopted)
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
        return self.pixels.measured

    @property
    def depth(self) -> Depth | None:
        """The bits that images with more than 8 are scaled by. Needs ``setup``."""
        return self.pixels.depth

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Take the measurements from the adopted model, if there is one."""
        self.pixels.fit(source, some_rows(rows[given[rows] >= 0]), given, self.adopted)

    def blank(self) -> DenseRows | FileRows:
        """An empty set of images, in memory or in files as in training."""
        assert self.adopted is not None
        return self.pixels.blank(self.num_workers, self.adopted)

    def view_set(self) -> Mapping[str, Any]:
        """Views of images in memory or of image files, known once the images are listed."""
        return self.pixels.view_set()
