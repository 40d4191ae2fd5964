"""Lists of image files, from class folders or tables, checked and turned into rows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from noisylab.data.base import Source
from noisylab.data.folders import (
    Listing,
    list_images,
    listed,
    parts_among,
    require_folder,
    same_folders,
    same_inside,
    shown,
    sub_folders,
)
from noisylab.data.labels import LabelNames, in_order, row_name
from noisylab.data.missing import Missing, doubtful, unlabeled_names
from noisylab.data.notes import note
from noisylab.data.pictures import Head, head_of
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.table import files_on_disk, read_label_table

__all__ = [
    "ImageList",
    "Sieve",
    "account_of",
    "check_images",
    "class_folders",
    "list_source",
    "read_table",
    "with_unlabeled",
]

_SKIP = ", or leave out what cannot be read (issues, predict: --skip_unreadable; fit: --data.skip_unreadable true)"
_CLASSES = 10  # that are counted one by one
_SHOWN = 10  # bad files in a message
_THREADS = 8  # that open images; the time goes into the file system and into decoders, which run side by side


@dataclass(frozen=True)
class ImageList:
    """Image files with their labels as written.

    Args:
        folder: what the names are relative to.
        names: (N) files, those of unlabeled images last.
        labels: (N) labels, empty for an unlabeled image.
        true_labels: (N) true labels, empty where unknown; `None` when nothing is known.
        where: the list's name in messages.
        rows: (N) number of each row in its table, the header being row 1 as in a spreadsheet, or what messages call it, such as
            "task 17"; `None` for folders.
        listing: what lay in the folders, images that were left out later included; `None` for tables.
        notes: what else a user is told about the list.
        unreadable: images that were taken off the list.
        left_out: images whose row has no label, or is of a part that is not read; they are not on the list.
        parts: (N) part of the data that a table says, train, val or test; else `None`.
        part_column: the column of the table that says so.
        files: (N) each image's path, or a `StoredPicture` of what a table holds itself; `None` where `names` say it.
    """

    folder: Path
    names: list[str]
    labels: list[str]
    where: str
    true_labels: list[str] | None = None
    rows: Sequence[int | str] | None = None
    listing: Listing | None = None
    notes: tuple[str, ...] = ()
    unreadable: int = 0
    left_out: tuple[str, ...] = ()
    parts: list[str] | None = None
    part_column: str = ""
    files: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> list[str]:
        """The files with their folder, or with their content where that lies in a table."""
        return [str(self.folder / name) for name in self.names] if self.files is None else list(self.files)

    @property
    def classes(self) -> list[str]:
        """The labels of the images that have one."""
        return [label for label in self.labels if label]

    def labeled(self) -> ImageList:
        """The images that have a label; the others are left out."""
        kept = [place for place, label in enumerate(self.labels) if label]
        if len(kept) == len(self):
            return self
        left = [name for name, label in zip(self.names, self.labels, strict=True) if not label]
        rest = replace(self.take(kept), left_out=(*self.left_out, *left))
        return rest.noted(f"{len(left):,} image{'s' * (len(left) > 1)} of {self.where} without a label left out")

    def joined(self, names: Sequence[str]) -> ImageList:
        """The list with further, unlabeled images behind its own; for lists that come from folders."""
        return replace(self, names=[*self.names, *names], labels=[*self.labels, *[""] * len(names)])

    def noted(self, *notes: str) -> ImageList:
        """The same list with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def take(self, kept: Sequence[int]) -> ImageList:
        """The images at the given positions of the list."""
        return replace(
            self,
            names=[self.names[i] for i in kept],
            labels=[self.labels[i] for i in kept],
            true_labels=None if self.true_labels is None else [self.true_labels[i] for i in kept],
            rows=None if self.rows is None else [self.rows[i] for i in kept],
            parts=None if self.parts is None else [self.parts[i] for i in kept],
            files=None if self.files is None else [self.files[i] for i in kept],
        )

    def part(self, kind: str, *kinds: str) -> ImageList:
        """The images of one part given by a table; those of all others except `kinds` are left out."""
        assert self.parts is not None
        kept = [place for place, part in enumerate(self.parts) if part == kind]
        left = [name for name, part in zip(self.names, self.parts, strict=True) if part not in (kind, *kinds)]
        where = f"{self.where}, {kind} rows"
        return replace(self.take(kept), where=where, left_out=(*self.left_out, *left), parts=None, part_column="")


def class_folders(root: Path, below: str = "", *, least: int = 2, missing: Missing = "auto") -> ImageList:
    """The images of ``root/below/<class>/``, class by class, each in the order of its names; behind them those without a label.

    Args:
        root: names are relative to it.
        below: a folder in it.
        least: class folders that there must be.
        missing: which folders hold images without a label, see `unlabeled_names`.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ValueError: when it has fewer than `least` class folders, one of them holds no image, or two are one by a link.
    """
    folder = root / below
    every, skipped = sub_folders(folder)
    without = unlabeled_names([path.name for path in every], missing)
    found = [path for path in every if path.name not in without]
    listings = {path.name: list_images(path) for path in found}
    skipped += [f"{name} (runs of noisylab)" for name, inner in listings.items() if inner.runs and not inner.images]
    classes = [path for path in found if listings[path.name].images or not listings[path.name].runs]
    if len(classes) < least:
        one = f"one class folder, {classes[0].name}" if classes else "no class folder"
        inner, _ = sub_folders(classes[0]) if classes else ([], [])
        hint = f", give {classes[0]} if its {len(inner)} folders are the classes" if len(inner) > 1 else ""
        raise ValueError(f"{folder} has {one}; put the images of each class into a folder of its own{hint}, or give labels_csv")
    same = same_folders(classes)
    if same is not None:
        raise ValueError(f"the class folders {same[0]} and {same[1]} are one folder, by a link; remove the link")
    empty = [path for path in classes if not listings[path.name].images]
    if empty:
        held = listings[empty[0].name].left
        what = f" that can be read, but {_counted(held)}; save them as JPEG or PNG" if held else "; add some or remove the folder"
        raise ValueError(f"the class folder {empty[0]} holds no image{what}")
    together, loose = Listing(), list_images(folder, deep=False)
    for path in classes:
        together.add(listings[path.name])
    notes = [f"left out of {folder}: {', '.join([*skipped, *together.skipped])}"] if skipped or together.skipped else []
    beside = len(loose.images) + loose.left.total()
    if beside:
        notes.append(f"left out of {folder}: {beside:,} image{'s' * (beside > 1)} beside the class folders")
    notes += doubtful([path.name for path in classes], str(folder))
    inside = same_inside(classes)
    if inside:
        parts_inside = len(parts_among(inside)) == len(inside)
        meaning = (
            "which by name are parts of the data: all of their images are read together; to keep a part apart, put these folders "
            "outermost, or give labels_csv and test_csv"
            if parts_inside
            else f"if these are the classes, give one of the outer folders, {classes[0]} for example"
        )
        notes.append(
            f"{listed([path.name for path in classes])} in {folder}: taken as classes, though each of them holds folders "
            f"{listed(inside)}{', ' if parts_inside else '; '}{meaning}"
        )
    parts = list(parts_among([path.name for path in classes]))
    if parts:
        notes.append(f"{listed(parts)} in {folder}: taken as a class, though called like a part of a data set")
    pairs = [(image.relative_to(root).as_posix(), path.name) for path in classes for image in listings[path.name].images]
    names, labels = [name for name, _ in pairs], [label for _, label in pairs]
    images = ImageList(root, names, labels, str(folder), listing=together, notes=tuple(notes))
    for path in every:
        if path.name in without:
            images = with_unlabeled(images, path, missing)
    return images


def with_unlabeled(images: ImageList, folder: Path, missing: Missing = "auto") -> ImageList:
    """A list from class folders, and behind it the images of a folder, which have no label.

    Args:
        images: the list.
        folder: within the list's own.
        missing: what named the folder.
    """
    listing = list_images(folder)
    together = Listing()
    for part in (images.listing or Listing(), listing):
        together.add(part)
    many = f"{len(listing.images):,} image{'s' * (len(listing.images) != 1)}"
    hint = "" if isinstance(missing, list) else "; if that is a class, say --data.missing none"
    notes = [
        f"{folder}: {many} without a label{hint}",
        *([f"left out of {folder}: {', '.join(listing.skipped)}"] if listing.skipped else []),
    ]
    names = [path.relative_to(images.folder).as_posix() for path in listing.images]
    return replace(images.joined(names), listing=together).noted(*notes)


def check_images(images: ImageList) -> list[Head]:
    """Size and color mode of each file, from its first bytes.

    Raises:
        ValueError: listing up to ten files that are missing or no image, with their number.
    """
    return Sieve().heads(images)[1]


class Sieve:
    """Sorts out images at fault: refuses the list, or leaves them out and remembers them.

    Args:
        skip: leave them out; `None` where a user has no such choice.
    """

    def __init__(self, skip: bool | None = None) -> None:
        self.skip = skip
        self.names: list[str] = []
        self._faults: list[str] = []

    def heads(self, images: ImageList) -> tuple[ImageList, list[Head]]:
        """The images whose first bytes are those of an image, and what these bytes say.

        Raises:
            ValueError: see `keep`.
        """
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            heads = list(pool.map(head_of, images.paths))
        faults = [f"{name} {head}" if isinstance(head, str) else "" for name, head in zip(images.names, heads, strict=True)]
        kept, good = self.keep(images, faults), [head for head in heads if isinstance(head, Head)]
        told = {
            "with several frames: the first is read": sum(head.frames for head in good),
            "with a color profile: shown in sRGB, as viewers do": sum(head.profile == "other" for head in good),
            "with a color profile that cannot be used: shown without it": sum(head.profile == "broken" for head in good),
        }
        notes = [f"{many:,} file{'s' * (many > 1)} of {images.where} {what}" for what, many in told.items() if many]
        return kept.noted(*notes), good

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
            _refuse_faults(images, faults, "" if self.skip is None else _SKIP)
        bad = [place for place, fault in enumerate(faults) if fault]
        self.names += [images.names[place] for place in bad]
        said = [f"{_row(images, place)}{faults[place]}" for place in bad]
        self._faults += said
        rest = replace(images.take(kept), unreadable=images.unreadable + len(bad))
        return rest.noted(*(f"left out: {line}" for line in said[:_SHOWN]), *_some(said)[_SHOWN:])

    def warn(self) -> None:
        """Report what was left out, if anything."""
        if self._faults:
            note("\n  ".join([f"{len(self._faults)} images cannot be read and are left out:", *_some(self._faults)]))


def account_of(images: ImageList) -> list[str]:
    """Sentences about what was read from a list and what was left out.

    >>> account_of(ImageList(Path("a"), ["x/1.png", "y/1.png"], ["x", "y"], "a", listing=Listing(left=Counter({".heic": 2}))))
    ['a: 4 image files, 2 read, 2 left out: .heic 2; 2 classes: x 1, y 1']
    """
    read, listing = len(images), images.listing or Listing()
    left = listing.left + Counter({"unreadable": images.unreadable})
    line = f"{images.where}: {read + left.total():,} image file{'s' * (read + left.total() != 1)}, {read:,} read"
    line += f", {left.total():,} left out: {_counted(left)}" if left.total() else ""
    counts = Counter(images.classes)
    if counts:
        names = in_order(counts)
        sizes = ", ".join(f"{shown(name)} {counts[name]:,}" for name in names)
        few = f"{min(counts.values()):,} to {max(counts.values()):,} images each"
        line += f"; {len(names)} classes: {sizes if len(names) <= _CLASSES else few}"
    others = listing.other.total()
    other = f"; {others:,} file{'s are no images' if others > 1 else ' is no image'}: {_counted(listing.other)}" if others else ""
    return [line + other, *images.notes]


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted((pair for pair in counts.items() if pair[1]), key=lambda pair: (-pair[1], pair[0]))
    more = [f"and {len(ordered) - _SHOWN} more kinds"] if len(ordered) > _SHOWN else []
    return ", ".join([*(f"{shown(name)} {count:,}" for name, count in ordered[:_SHOWN]), *more])


def list_source(parts: Sequence[tuple[ImageList, DenseRows | FileRows]], classes: LabelNames) -> Source:
    """The `Source` made of a list of training images and its rows and, optionally, a list of test images and its rows."""
    train, store = parts[0]
    labels = np.array(train.labels, dtype=np.str_)
    source = Source(
        account=[line for images, _ in parts for line in account_of(images)],
        train=store,
        given=classes.numbers(labels, f"the labels of {train.where}", files=train.names, skip=labels == ""),
        class_names=classes.names,
        names=train.names,
        unlabeled=bool((labels == "").any()),
    )
    if train.true_labels is not None:
        truth, what = np.array(train.true_labels), f"true_label of {train.where}"
        source.clean = classes.numbers(truth, what, unknown=True, files=train.names)
    for test, test_store in parts[1:]:
        source.test, source.test_names = test_store, test.names
        source.test_target = classes.numbers(np.array(test.labels), f"the labels of {test.where}", files=test.names)
    return source


def read_table(
    path: Path,
    folder: Path,
    file_column: str | None = None,
    label_column: str | None = None,
    missing: Missing = "auto",
) -> ImageList:
    """The rows of a table of image files, as `read_label_table` reads it.

    Args:
        path: the table.
        folder: what its files are relative to.
        file_column: the column of the files, if it has another name than ``file``.
        label_column: the column of the labels, if it has another name than ``label``.
        missing: which labels are none. Files of such rows that are not there are left out, with a note.

    Raises:
        FileNotFoundError: when the table or the folder does not exist.
        ValueError: see `read_label_table`; or listing up to ten rows that cannot be used.
    """
    require_folder(folder)
    table = read_label_table(path, file_column, label_column, missing)
    names, notes = files_on_disk(table.names, folder)
    slashes = [place for place, name in enumerate(names) if "\\" in name and (folder / name.replace("\\", "/")).is_file()]
    faults = list(table.faults)
    for place in slashes:
        faults[place] = faults[place] or f"{names[place]} is separated as in Windows; write / in place of \\"
    if any(name.startswith(("/", "..")) for name in names):  # or else names alone tell files apart
        real = [os.path.realpath(folder / name) for name in names]
        count = Counter(real)
        for place, path_of in enumerate(real):
            if count[path_of] > 1 and names[place]:
                faults[place] = faults[place] or f"{names[place]} is a file that is listed more than once, by another path"
    gone = [place for place, label in enumerate(table.labels) if not label and not faults[place]]
    gone = [place for place in gone if not (folder / names[place]).exists()]
    if gone:
        notes = [
            *notes,
            f"{len(gone):,} unlabeled images of {path} are not there and left out ({listed([names[p] for p in gone])})",
        ]
    images = ImageList(
        folder,
        names,
        table.labels,
        str(path),
        table.true_labels,
        table.rows,
        notes=(*table.notes, *notes),
        left_out=tuple(files_on_disk(table.left_out, folder)[0]),
        parts=table.parts,
        part_column=table.part_column,
    )
    if gone:
        there = [place for place in range(len(images)) if place not in {*gone}]
        images, faults = images.take(there), [faults[place] for place in there]
    return Sieve().keep(images, faults)


def _refuse_faults(images: ImageList, faults: Sequence[str], advice: str) -> NoReturn:
    """Refuse a list with rows at fault; a row that is not has an empty text."""
    shown = [f"{_row(images, place)}{fault}" for place, fault in enumerate(faults) if fault]
    raise ValueError(
        "\n  ".join([f"{len(shown)} of {len(images)} images of {images.where} cannot be used:", *_some(shown)])
        + f"\nCorrect or remove them{advice}; files are looked for in {images.folder}{_another_folder(images, len(shown))}"
    )


def _another_folder(images: ImageList, faults: int) -> str:
    """The folder to give instead, where all names of a table begin with that of the folder given."""
    folder = images.folder
    if faults < len(images) or not all(name.startswith(f"{folder.name}/") for name in images.names):
        return ""
    if not all((folder.parent / name).is_file() for name in images.names):
        return ""
    return f"\nAll names begin with {folder.name}/: give the folder above, {folder.parent}, or take that part out of the table"


def _row(images: ImageList, place: int) -> str:
    return f"{row_name(images.rows[place])}: " if images.rows is not None else ""


def _some(lines: Sequence[str]) -> list[str]:
    """The first of many lines, and how many more there are."""
    return [*lines[:_SHOWN], *([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])]
