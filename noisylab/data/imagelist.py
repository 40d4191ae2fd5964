"""Lists of image files: from class folders or tables, checked, and turned into rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.base import Source
from noisylab.data.labels import LabelNames
from noisylab.data.rows import DenseRows, FileRows, open_image
from noisylab.data.table import read_label_table

__all__ = [
    "SUFFIXES",
    "Head",
    "ImageList",
    "Sieve",
    "check_images",
    "class_folders",
    "decode",
    "fault_of",
    "file_rows",
    "image_lists",
    "images_below",
    "list_source",
    "read_table",
    "require_folder",
    "split_folders",
    "unlisted_images",
    "unreadable",
]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Endings of image files."""

_SHOWN = 10  # bad files in a message
_THREADS = 8  # that open images; the time goes into the file system and into decoders, which run side by side


@dataclass(frozen=True)
class ImageList:
    """Image files with their labels as written.

    Args:
        folder: what the names are relative to.
        names: (N) files.
        labels: (N) labels.
        true_labels: (N) true labels, empty where unknown; `None` when nothing is known.
        where: the list's name in messages.
        rows: (N) number of each row in its table, the header being row 1 as in a spreadsheet; `None` for folders.
    """

    folder: Path
    names: list[str]
    labels: list[str]
    where: str
    true_labels: list[str] | None = None
    rows: list[int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> list[str]:
        """The files with their folder."""
        return [str(self.folder / name) for name in self.names]

    def take(self, kept: Sequence[int]) -> ImageList:
        """The images at some places of the list."""
        return replace(
            self,
            names=[self.names[i] for i in kept],
            labels=[self.labels[i] for i in kept],
            true_labels=None if self.true_labels is None else [self.true_labels[i] for i in kept],
            rows=None if self.rows is None else [self.rows[i] for i in kept],
        )


class Head(NamedTuple):
    """What the first bytes of an image file say."""

    width: int
    height: int
    mode: str


def image_lists(
    images: str,
    labels_csv: str | None,
    test_images: str | None,
    test_csv: str | None,
    file_column: str | None,
    label_column: str | None,
) -> tuple[ImageList, ImageList | None]:
    """The training and the test images, as `ImageFolder` finds them by its arguments of these names."""
    root = Path(images)
    if labels_csv is not None:
        train = read_table(Path(labels_csv), root, file_column, label_column)
    else:
        split = split_folders(root) if test_images is None and test_csv is None else None
        if split is not None:
            return class_folders(root, split[0]), None if split[1] is None else class_folders(root, split[1])
        train = class_folders(root)
    if test_csv is not None:
        test_root = root if test_images is None else Path(test_images)
        return train, read_table(Path(test_csv), test_root, file_column, label_column)
    return train, None if test_images is None else class_folders(Path(test_images))


def split_folders(root: Path) -> tuple[str, str | None] | None:
    """Names of the training and the test folder, if `root` holds such folders and no others."""
    require_folder(root)
    found = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if "train" not in found or not found <= {"train", "val", "test"}:
        return None
    return "train", next((name for name in ("test", "val") if name in found), None)


def class_folders(root: Path, below: str = "") -> ImageList:
    """The images of ``root/below/<class>/``, class by class, each in the order of its names.

    Args:
        root: names are relative to it.
        below: a folder in it.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ValueError: when it has fewer than two class folders, or one of them holds no image.
    """
    folder = root / below
    require_folder(folder)
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        found = f"one class folder, {classes[0].name}" if classes else "no class folder"
        raise ValueError(f"{folder} has {found}; put the images of each class into a folder of its own, or give labels_csv")
    files = {path.name: images_below(path) for path in classes}
    empty = [name for name, images in files.items() if not images]
    if empty:
        raise ValueError(f"the class folder {folder / empty[0]} holds no image; add some or remove the folder")
    pairs = [(image.relative_to(root).as_posix(), name) for name, images in files.items() for image in images]
    return ImageList(root, [name for name, _ in pairs], [label for _, label in pairs], str(folder))


def check_images(images: ImageList) -> list[Head]:
    """Size and colour mode of each file, from its first bytes.

    Raises:
        ValueError: listing up to ten files that are missing or no image, with their number.
    """
    return Sieve().heads(images)[1]


class Sieve:
    """Sorts out images at fault: refuses the list, or leaves them out and remembers them.

    Args:
        skip: leave them out.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.names: list[str] = []
        self._faults: list[str] = []

    def heads(self, images: ImageList) -> tuple[ImageList, list[Head]]:
        """The images whose first bytes are those of an image, and what these bytes say.

        Raises:
            ValueError: see `keep`.
        """
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            heads = list(pool.map(_head, images.paths))
        faults = [f"{name} {head}" if isinstance(head, str) else "" for name, head in zip(images.names, heads, strict=True)]
        return self.keep(images, faults), [head for head in heads if isinstance(head, Head)]

    def keep(self, images: ImageList, faults: Sequence[str]) -> ImageList:
        """The images that are not at fault.

        Args:
            images: N images.
            faults: (N) which file is at fault and why; empty for one that is not.

        Raises:
            ValueError: listing up to ten faults with their rows, unless they are to be left out and leave any image.
        """
        if not any(faults):
            return images
        kept = [place for place, fault in enumerate(faults) if not fault]
        if not self.skip or not kept:
            _refuse_faults(images, faults)
        bad = [place for place, fault in enumerate(faults) if fault]
        self.names += [images.names[place] for place in bad]
        self._faults += [f"{_row(images, place)}{faults[place]}" for place in bad]
        return images.take(kept)

    def warn(self) -> None:
        """Say what was left out, if anything was."""
        if self._faults:
            rank_zero_warn("\n  ".join([f"{len(self._faults)} images cannot be read and are left out:", *_some(self._faults)]))


def unreadable(images: ImageList, allow_truncated: bool) -> list[str]:
    """(N) why an image cannot be read to its end, with its file; empty for one that can. Every image is decoded.

    Args:
        images: N images.
        allow_truncated: see `open_image`.
    """

    def look(path: str) -> str:
        try:
            open_image(path, allow_truncated=allow_truncated)
        except ValueError as error:
            return fault_of(error)
        return ""

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return list(pool.map(look, images.paths))


def fault_of(error: ValueError) -> str:
    """What `open_image` says is wrong with a file, without what to do about it, which is said once for all files."""
    return str(error).removesuffix("; remove it from the data or replace the file")


def unlisted_images(images: ImageList) -> list[str]:
    """The image files below the folder of a list that it does not name, sorted; relative to the folder."""
    listed = {os.path.realpath(path) for path in images.paths}
    found = [path for path in images_below(images.folder) if os.path.realpath(path) not in listed]
    return [path.relative_to(images.folder).as_posix() for path in found]


def file_rows(images: ImageList, views: Mapping[str, Any], num_workers: int, allow_truncated: bool) -> FileRows:
    """The images as rows that are opened whenever they are needed."""
    return FileRows(images.paths, views, num_workers=num_workers, allow_truncated=allow_truncated)


def list_source(parts: Sequence[tuple[ImageList, DenseRows | FileRows]], classes: LabelNames) -> Source:
    """What the base needs to know of a list of training images and its rows, and perhaps a list of test images and theirs."""
    train, store = parts[0]
    source = Source(
        train=store,
        given=classes.numbers(np.array(train.labels), f"the labels of {train.where}", files=train.names),
        class_names=classes.names,
        names=train.names,
    )
    if train.true_labels is not None:
        truth, what = np.array(train.true_labels), f"true_label of {train.where}"
        source.clean = classes.numbers(truth, what, unknown=True, files=train.names)
    for test, test_store in parts[1:]:
        source.test, source.test_names = test_store, test.names
        source.test_target = classes.numbers(np.array(test.labels), f"the labels of {test.where}", files=test.names)
    return source


def require_folder(folder: Path) -> None:
    """Raise FileNotFoundError unless the folder exists."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; check the path")


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and its sub-folders, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_table(path: Path, folder: Path, file_column: str | None = None, label_column: str | None = None) -> ImageList:
    """The rows of a table of image files, as `read_label_table` reads it.

    Args:
        path: the table.
        folder: what its files are relative to.
        file_column: the column of the files, if it has another name than ``file``.
        label_column: the column of the labels, if it has another name than ``label``.

    Raises:
        FileNotFoundError: when the table or the folder does not exist.
        ValueError: see `read_label_table`; or listing up to ten rows that cannot be used.
    """
    require_folder(folder)
    table = read_label_table(path, file_column, label_column)
    images = ImageList(folder, table.names, table.labels, str(path), table.true_labels, table.rows)
    return Sieve().keep(images, table.faults)


def _refuse_faults(images: ImageList, faults: Sequence[str]) -> NoReturn:
    """Refuse a list with rows at fault; a row that is not has an empty text."""
    shown = [f"{_row(images, place)}{fault}" for place, fault in enumerate(faults) if fault]
    raise ValueError(
        "\n  ".join([f"{len(shown)} of {len(images)} images of {images.where} cannot be used:", *_some(shown)])
        + f"\nCorrect or remove them; files are looked for in {images.folder}"
    )


def _row(images: ImageList, place: int) -> str:
    return f"row {images.rows[place]}: " if images.rows is not None else ""


def _some(lines: Sequence[str]) -> list[str]:
    """The first of many lines, and how many more there are."""
    return [*lines[:_SHOWN], *([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])]


def _head(path: str) -> Head | str:
    """Size and mode of an image file, or what is wrong with it."""
    try:
        with Image.open(path) as image:
            return Head(*image.size, image.mode)
    except FileNotFoundError:
        return "does not exist"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "is not an image"


def decode(images: ImageList, size: tuple[int, int], grey: bool, allow_truncated: bool) -> tuple[Tensor, list[str]]:
    """Pixels of images; those of another size than (width, height) are scaled and cut to their middle.

    Returns:
        (M, 1 or 3, H, W) uint8 of those that can be read, and as `unreadable` why others cannot.
    """
    width, height = size
    pixels = np.empty((len(images), height, width, 1 if grey else 3), dtype=np.uint8)
    faults = [""] * len(images)
    for place, path in enumerate(images.paths):
        try:
            image = open_image(path, "L" if grey else "RGB", allow_truncated=allow_truncated)
        except ValueError as error:
            faults[place] = fault_of(error)
            continue
        if image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        pixels[place] = np.asarray(image).reshape(pixels.shape[1:])
    if any(faults):
        pixels = pixels[[not fault for fault in faults]]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), faults
