"""Finds the pictures that an export names below a folder, and makes a list of images of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from noisylab.data.exports.export import Export, refuse_faults, some
from noisylab.data.exports.found import read_export
from noisylab.data.exports.values import address
from noisylab.data.folders import require_folder
from noisylab.data.imagelist import ImageList
from noisylab.data.missing import Missing, doubtful
from noisylab.data.notes import note
from noisylab.data.table import files_on_disk

__all__ = ["Pictures", "export_images", "names_below", "read_pictures"]

_HASH = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an upload


class Pictures(NamedTuple):
    """The rows of an export with the files that they mean.

    Args:
        export: as read.
        names: file of each row, relative to the folder of the pictures.
        notes: how the files were found.
    """

    export: Export
    names: list[str]
    notes: list[str]


def read_pictures(path: str | Path, folder: Path, file_column: str | None = None, label_column: str | None = None) -> Pictures:
    """The rows of an export of pictures, and their files.

    Args:
        path: the export.
        folder: of the pictures.
        file_column: of Label Studio, the entry of ``data`` with the picture, where there are several.
        label_column: of Label Studio, the name of the choices that are the labels, where there are several.

    Raises:
        FileNotFoundError: there is no export, or no folder.
        ValueError: see `read_export`; tasks are texts or recordings; none of the files is there; or two rows mean one file.
    """
    require_folder(folder)
    export = read_export(path, label_column, file_column)
    if export.kind != "image" and file_column is None:
        what = {"text": "text", "audio": "recordings"}[export.kind]
        raise ValueError(
            f"{path} holds tasks of {what} (under {export.value_key!r}), not of pictures: give it as --dataset {path}"
        )
    names, notes = names_below(folder, [row.value for row in export.rows], str(path))
    faults = [
        f"{export.unit} {row.row_id} has the picture itself in place of a file; save it as a file"
        for row in export.rows
        if row.value.startswith("data:")
    ]
    users: dict[str, list[str]] = {}
    for name, row in zip(names, export.rows, strict=True):
        users.setdefault(name, []).append(row.row_id)
    faults += [f"{some(export.unit, ids)} are all of {name}" for name, ids in users.items() if len(ids) > 1]
    refuse_faults(export.source, faults, "Keep one of each, or give each its file")
    return Pictures(export, names, notes)


def export_images(
    path: Path,
    folder: Path,
    file_column: str | None = None,
    label_column: str | None = None,
    missing: Missing = "auto",
) -> ImageList:
    """The pictures of an export, those without a label last, as `noisylab.data.imagelist.read_table` reads those of a table.

    Args:
        path: the export.
        folder: of the pictures.
        file_column: see `read_pictures`.
        label_column: likewise.
        missing: a list of labels that stand for none; words are classes otherwise, as a tool says itself what has no label.

    Raises:
        FileNotFoundError: see `read_pictures`.
        ValueError: likewise.
    """
    export, names, notes = read_pictures(path, folder, file_column, label_column)
    gone = frozenset(map(str, missing)) if isinstance(missing, list) else frozenset()
    labels = ["" if row.label in gone else row.label for row in export.rows]
    replaced = Counter(row.label for row in export.rows if row.label in gone)
    notes += [f"{many:,} rows have the label {label!r}, which stands for none" for label, many in replaced.items()]
    notes = [f"{path}: {text}" for text in (*export.notes, *notes)]
    if missing in ("auto", "all"):
        notes += doubtful(sorted({*labels} - {""}), str(path))
    unlabeled = [place for place, label in enumerate(labels) if not label]
    absent = {place for place in unlabeled if not (folder / names[place]).exists()}
    if absent:
        ids = some(export.unit, [export.rows[place].row_id for place in sorted(absent)])
        notes.append(f"{len(absent):,} unlabeled images of {path} are not there and left out ({ids})")
    for text in notes:
        note(text)
    order = [place for place, label in enumerate(labels) if label]
    order += [place for place in unlabeled if place not in absent]
    return ImageList(
        folder,
        [names[place] for place in order],
        [labels[place] for place in order],
        f"{path} ({export.tool})",
        rows=[f"{export.unit} {export.rows[place].row_id}" for place in order],
        notes=tuple(notes),
    )


def names_below(folder: Path, values: Sequence[str], where: str) -> tuple[list[str], list[str]]:
    """The files below a folder that addresses mean.

    All addresses of one kind (uploads, files of local storage, URLs, paths) are taken alike: without as many of their first
    folders, and of uploads with or without the eight letters before their name, as finds the most files.

    Args:
        folder: of the files.
        values: as written in an export.
        where: the export, for messages.

    Returns:
        A name for each, relative to the folder, of files that are not there, too; and what a user is told.

    Raises:
        ValueError: none of the files is there.
    """
    kinds: dict[str, list[int]] = {}
    meant = [address(value) for value in values]
    for place, (kind, _) in enumerate(meant):
        kinds.setdefault(kind, []).append(place)
    names, notes, there = [""] * len(values), [], 0
    for kind, places in kinds.items():
        found, cut, bare, many = _taken(folder, [PurePosixPath(meant[place][1]) for place in places], uploads=kind == "upload")
        there += many
        for place, name in zip(places, found, strict=True):
            names[place] = name
        what = {"upload": "uploads", "local": "files of local storage", "url": "URLs", "path": "file names"}[kind]
        if cut or bare or kind == "url":
            first = f"{values[places[0]]} is {found[0]}"
            less = [f"their first {cut} folder{'s' * (cut > 1)}"] * bool(cut) + ["the eight letters of Label Studio"] * bare
            notes.append(f"{what} are files of {folder}{', without ' if less else ''}{' and '.join(less)} ({first})")
    if values and not there:
        raise ValueError(
            f"none of the {len(values):,} pictures of {where} is below {folder}; the first is {values[0]!r}. Give the folder "
            "that they lie in, or one above it; what lies on another machine has to be fetched first"
        )
    return names, notes


def _taken(folder: Path, paths: Sequence[PurePosixPath], *, uploads: bool) -> tuple[list[str], int, bool, int]:
    """Names of files, how many folders are cut off, whether the letters of uploads are, and how many files are there."""
    best: tuple[list[str], int, bool, int] = [], 0, False, -1
    marked = uploads and all(_HASH.match(path.name) for path in paths)
    for bare in (False, True)[: 1 + marked]:
        for cut in range(max(len(path.parts) for path in paths)):
            short = [PurePosixPath(*path.parts[min(cut, len(path.parts) - 1) :]) for path in paths]
            named = [str(path.with_name(_HASH.sub("", path.name, count=1))) if bare else str(path) for path in short]
            named, _ = files_on_disk(named, folder)
            there = sum(".." not in name.split("/") and (folder / name).is_file() for name in named)
            if there > best[3]:
                best = named, cut, bare, there
            if there == len(paths):
                return best
    return best
