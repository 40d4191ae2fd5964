"""Lists of image files: from class folders or tables, checked, and turned into rows."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.base import Source
from noisylab.data.labels import LabelNames
from noisylab.data.rows import DenseRows, FileRows, open_image

__all__ = [
    "SUFFIXES",
    "Head",
    "ImageList",
    "check_images",
    "class_folders",
    "decode",
    "file_rows",
    "images_below",
    "list_source",
    "read_table",
    "require_folder",
]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Endings of image files."""

_SHOWN = 10  # bad files in a message


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

    @property
    def paths(self) -> list[str]:
        """The files with their folder."""
        return [str(self.folder / name) for name in self.names]


class Head(NamedTuple):
    """What the first bytes of an image file say."""

    width: int
    height: int
    mode: str


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
    with ThreadPoolExecutor(max_workers=8) as pool:
        heads = list(pool.map(_head, images.paths))
    _refuse_faults(images, [head if isinstance(head, str) else "" for head in heads])
    return [head for head in heads if isinstance(head, Head)]


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


def read_table(path: Path, folder: Path) -> ImageList:
    """The rows of a comma-separated table with the columns ``file``, ``label`` and perhaps ``true_label``.

    Args:
        path: the table, in UTF-8, with a header.
        folder: what its files are relative to.

    Raises:
        FileNotFoundError: when the table or the folder does not exist.
        ValueError: when a column is missing, or listing up to ten rows without file or label, or whose file is listed twice.
    """
    require_folder(folder)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no table {path}; check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table in UTF-8: {error}; save it as comma-separated UTF-8 text") from error
    columns = [name.strip() for name in lines[0]] if lines else []
    absent = [name for name in ("file", "label") if name not in columns]
    if absent:
        hint = " Separate columns by commas." if len(columns) == 1 and any(mark in columns[0] for mark in ";\t") else ""
        raise ValueError(
            f"{path} has no column {' and no column '.join(absent)}; its first line has {', '.join(columns) or 'nothing'}, "
            f"needed are file, label and optionally true_label.{hint}"
        )
    numbered = [(number, line) for number, line in enumerate(lines[1:], start=2) if any(cell.strip() for cell in line)]
    if not numbered:
        raise ValueError(f"{path} has a header but no rows; list one image a row")
    cells = {
        name: [line[columns.index(name)].strip() if columns.index(name) < len(line) else "" for _, line in numbered]
        for name in ("file", "label", "true_label")
        if name in columns
    }
    names = [os.path.normpath(name).replace(os.sep, "/") if name else "" for name in cells["file"]]
    images = ImageList(folder, names, cells["label"], str(path), cells.get("true_label"), [number for number, _ in numbered])
    count = Counter(names)
    faults = [
        "has no file" if not name else "has no label" if not label else "is listed more than once" if count[name] > 1 else ""
        for name, label in zip(names, images.labels, strict=True)
    ]
    _refuse_faults(images, faults)
    return images


def _refuse_faults(images: ImageList, faults: Sequence[str]) -> None:
    """Refuse a list with rows at fault; a row that is not has an empty text."""
    bad = [row for row, fault in enumerate(faults) if fault]
    if not bad:
        return
    number = [f"row {images.rows[row]}: " if images.rows is not None else "" for row in bad]
    shown = [f"{number[i]}{images.names[row]} {faults[row]}".replace("  ", " ") for i, row in enumerate(bad[:_SHOWN])]
    if len(bad) > _SHOWN:
        shown.append(f"and {len(bad) - _SHOWN} more")
    raise ValueError(
        "\n  ".join([f"{len(bad)} of {len(images.names)} images of {images.where} cannot be used:", *shown])
        + f"\nCorrect or remove them; files are looked for in {images.folder}"
    )


def _head(path: str) -> Head | str:
    """Size and mode of an image file, or what is wrong with it."""
    try:
        with Image.open(path) as image:
            return Head(*image.size, image.mode)
    except FileNotFoundError:
        return "does not exist"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "is not an image"


def decode(paths: Sequence[str], size: tuple[int, int], grey: bool, allow_truncated: bool) -> Tensor:
    """(N, 1 or 3, H, W) uint8; images of another size than (width, height) are scaled and cut to their middle."""
    width, height = size
    pixels = np.empty((len(paths), height, width, 1 if grey else 3), dtype=np.uint8)
    for row, path in enumerate(paths):
        image = open_image(path, "L" if grey else "RGB", allow_truncated=allow_truncated)
        if image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        pixels[row] = np.asarray(image).reshape(pixels.shape[1:])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
