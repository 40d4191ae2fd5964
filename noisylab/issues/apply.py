"""Corrected copies of a label file: fixes come from a list or the top of the ranking, are checked, and go to a new file."""

from __future__ import annotations

import copy
import csv
import math
import os
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from noisylab.data.arrayfile import ArrayFile
from noisylab.data.folders import layout_of, require_folder
from noisylab.data.imagelist import class_folders, with_unlabeled
from noisylab.data.labels import Array, LabelNames, read_labels
from noisylab.data.missing import Missing
from noisylab.data.table import files_on_disk, read_records
from noisylab.files import atomic_path
from noisylab.issues.fixes import Applied, Fixes, applied_of, changes_of, refuse, refuse_existing
from noisylab.issues.table import KEYS, IssueTable

__all__ = ["apply_to_arrays", "apply_to_folders", "apply_to_table", "read_accepted", "top_count", "top_fixes"]


def read_accepted(path: str | Path) -> Fixes:
    """Read a list of accepted fixes.

    Args:
        path: comma-separated UTF-8 text with the columns ``file``, ``id`` or ``index``, ``label`` (the new one) and optionally
            ``given`` (the one it replaces). Files are taken as in a table of labels: ``./a.jpg`` is ``a.jpg``.

    Raises:
        FileNotFoundError: without the file.
        ValueError: when a column is missing, when there are no rows, or listing up to ten rows without file or label, whose
            index is no number, or that are there twice.
    """
    path = Path(path)
    header, records = read_records(path).split(path)
    key_name = next((name for name in KEYS if name in header), "file")
    columns = _columns(path, header, (key_name, "label"), "file, id or index, label and optionally given")
    given_column = header.index("given") if "given" in header else None
    fixes: Fixes = {}
    faults = []
    for number, record in records:
        key, label = (_cell(record.cells, column) for column in columns)
        given = "" if given_column is None else _cell(record.cells, given_column)
        if key and key_name == "file":
            key = _file_key(key)
        elif key and key_name == "id":
            pass
        elif key.isascii() and key.isdecimal():
            key = str(int(key))
        elif key:
            faults.append(f"row {number}: index {key!r} is no row number")
            continue
        if not key or not label:
            faults.append(f"row {number}{f': {key}' if key else ''} has no {'label' if key else key_name}")
        elif key in fixes:
            faults.append(f"row {number}: {key} is listed more than once")
        else:
            fixes[key] = (label, given or None)
    refuse(faults, f"rows of {path} cannot be used", "correct or remove these rows")
    if not fixes:
        raise ValueError(f"{path} has a header but no rows; accept some fixes in the page and download the list again")
    return fixes


def top_fixes(table: IssueTable, top: str) -> Fixes:
    """The suggestions for the first rows of a ranking; rows that are not flagged as issues keep their label.

    Args:
        table: ranked labels.
        top: how many rows are looked at, "20", or what share of all rows, "5%", rounded up.

    Raises:
        ValueError: when `top` is neither, is nothing, or is more than there is; when none of the rows is flagged.
    """
    count = top_count(top, len(table))
    head = table.head(count)
    names = table.class_names
    rows = zip(head.keys, head.suggested.tolist(), head.given.tolist(), head.is_issue.tolist(), strict=True)
    fixes: Fixes = {key: (names[suggested], names[given]) for key, suggested, given, flagged in rows if flagged}
    if not fixes:
        raise ValueError(f"none of the first {count} rows of the list is flagged as an issue, so there is nothing to fix")
    return fixes


def top_count(top: str, rows: int) -> int:
    """How many rows the first ones of a list are.

    Args:
        top: a number of rows, "20", or a share of all, "5%", rounded up.
        rows: of the list.

    Raises:
        ValueError: when `top` is neither, is nothing, or is more than there is.

    >>> top_count("20", 300), top_count("5%", 301)
    (20, 16)
    """
    found = re.fullmatch(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?)\s*%", top.strip())
    if found is None:
        raise ValueError(f"top must be a number of rows such as 20, or a share such as 5%, got {top!r}")
    share = None if found[2] is None else Fraction(found[2])
    count = int(found[1]) if share is None else math.ceil(share * rows / 100)
    if count < 1 or count > rows:
        raise ValueError(f"top must be between 1 and the {rows} rows of the list, or above 0% and at most 100%, got {top!r}")
    return count


def apply_to_table(
    labels_csv: str | Path, fixes: Fixes, out: str | Path, *, label_column: str = "label", file_column: str = "file"
) -> Applied:
    """Write a copy of a table of labels in which only the labels of the fixes differ.

    Rows, their order, the other cells, line ends and a byte order mark stay as they are, byte for byte.

    Args:
        labels_csv: comma-separated UTF-8 text with a header.
        fixes: by file. A row that has the new label already is left alone, whatever label the fix was made for.
        out: the new file; it must not be there yet.
        label_column: the labels' column.
        file_column: the files' column.

    Raises:
        FileExistsError: when `out` already exists, above all when it is the table itself.
        FileNotFoundError: without the table.
        ValueError: when a column is missing; listing up to ten rows that have no file or are there twice, fixes whose file does
            not occur, whose new label is none of the table, or that replace another label than the row has. Nothing is written.
    """
    path = Path(labels_csv)
    refuse_existing(out, path)
    table = read_records(path)
    header, records = table.split(path)
    file_at, label_at = _columns(path, header, (file_column, label_column), f"{file_column} and {label_column}")
    present: dict[str, str] = {}
    faults = []
    for number, record in records:
        name = _cell(record.cells, file_at)
        key = _file_key(name) if name else ""
        if not key or key in present:
            faults.append(f"row {number}{f': {key} is listed more than once' if key else ' has no file'}")
        present[key] = _cell(record.cells, label_at)
    refuse(faults, f"rows of {path} cannot be used", "correct or remove these rows")
    changes, same = changes_of(fixes, present, sorted(set(present.values()) - {""}), str(path))
    new = {number: changes.get(_file_key(_cell(record.cells, file_at))) for number, record in records}
    texts = [
        record.raw if (label := new.get(number)) is None else record.with_cell(label_at, label)
        for number, record in enumerate(table.records, start=1)
    ]
    with atomic_path(out, new=True) as partial:
        partial.write_bytes(table.mark + "".join(texts).encode("utf-8"))
    return applied_of(changes, same, present)


def apply_to_folders(
    images_root: str | Path, table: IssueTable, fixes: Fixes, out: str | Path, *, missing: Missing = "auto"
) -> Applied:
    """Write a table of labels for images in class folders; the images stay where they are.

    With the columns ``file`` and ``label`` it lists all images of the folders, held-out ones, too. Training with
    ``labels_csv`` set to it and ``images`` as before takes it in place of the folders' names; if `images_root` holds ``train``
    and ``test``, only ``train`` is listed, and ``test_images`` then has to name the test folder.

    Args:
        images_root: the folder that the labels were ranked in.
        table: the ranked labels; they must be of these images.
        fixes: by file, relative to `images_root`.
        out: the new table; it must not be there yet.
        missing: which folders hold images without a label, as the run was told; such images have an empty one in the table.

    Raises:
        FileExistsError: when `out` already exists.
        FileNotFoundError: without the folder.
        ValueError: when images of `table` are not in the folder, or have names that a table cannot hold, and for fixes as in
            `apply_to_table`.
    """
    root = Path(images_root)
    refuse_existing(out)
    require_folder(root)
    layout = layout_of(root, missing)
    images = class_folders(root, "" if layout is None else layout.train, missing=missing)
    if layout is not None and layout.unlabeled is not None:
        images = with_unlabeled(images, root / layout.unlabeled, missing)
    present = dict(zip(images.names, images.labels, strict=True))
    changes, same = changes_of(_for_table(fixes, table, present, str(root)), present, sorted(set(images.classes)), str(root))
    written = _written(present, root)
    _write_labels(out, "file", {written[name]: changes.get(name, label) for name, label in present.items()})
    return applied_of(changes, same, present)


def apply_to_arrays(path: str | Path, table: IssueTable, fixes: Fixes, out: str | Path, *, missing: Missing = "auto") -> Applied:
    """Write corrected labels of arrays: a copy of all arrays with a new ``y``, or a table of all labels.

    Args:
        path: the .npz file, or the folder of .npy files, that the labels were ranked in.
        table: the ranked labels; they must be of these rows.
        fixes: by row number, counted from 0.
        out: the new file, which must not be there yet. One that ends in .npz holds every array of `path`, byte for byte and
            never unpickled, and ``y`` with the new labels: numbers as numbers of the same type, text as text, which may become
            wider. It is written for a folder of .npy files, too. One that ends in .csv has the columns ``index`` and ``label``.
        missing: which labels are none, as the run was told; their rows stay as they are, and are empty in a table.

    Raises:
        FileExistsError: when `out` already exists.
        FileNotFoundError: without the arrays.
        ValueError: when `out` ends in neither, when rows of `table` are not there, and for fixes as in `apply_to_table`.
    """
    path, out = Path(path), Path(out)
    refuse_existing(out, path)
    if out.suffix not in (".npz", ".csv"):
        raise ValueError(f"out must end in .npz, for a copy of all arrays, or in .csv, for the labels alone; got {out}")
    file = ArrayFile(str(path), habits=True)
    labels, what = file["y"], f"y in {path}"
    names = file["class_names"] if "class_names" in file.names else None
    whole, gone = read_labels(labels, what, missing, names)
    classes = LabelNames.of(whole[~gone.mask], names, what)
    numbers = classes.numbers(whole, what, skip=gone.mask).tolist()
    present = {str(row): "" if number < 0 else classes.names[number] for row, number in enumerate(numbers)}
    changes, same = changes_of(_for_table(fixes, table, present, str(path)), present, classes.names, str(path))
    if out.suffix == ".csv":
        _write_labels(out, "index", {**present, **changes})
    else:
        new = {int(key): classes.names.index(label) for key, label in changes.items()}
        _write_arrays(path, file.stored("y"), _changed_labels(labels, classes.values, new), out)
    return applied_of(changes, same, present)


def _columns(path: Path, header: Sequence[str], names: Sequence[str], needed: str) -> list[int]:
    absent = [name for name in names if name not in header]
    if absent:
        hint = " Separate columns by commas." if len(header) == 1 and any(mark in header[0] for mark in ";\t") else ""
        raise ValueError(
            f"{path} has no column {' and no column '.join(absent)}; its first line has {', '.join(header) or 'nothing'}; "
            f"it needs {needed}.{hint}"
        )
    return [header.index(name) for name in names]


def _cell(cells: Sequence[str], column: int) -> str:
    return cells[column].strip() if column < len(cells) else ""


def _file_key(name: str) -> str:
    """As `noisylab.data.table` calls a file."""
    return os.path.normpath(name).replace(os.sep, "/")


def _for_table(fixes: Fixes, table: IssueTable, present: Mapping[str, str], where: str) -> Fixes:
    """The fixes with the label that each replaces, once the ranked rows are known to be among the present ones."""
    refuse(
        [key for key in table.keys if key not in present],
        f"rows of the ranked list are not in {where}",
        "give the data that the list was made for",
    )
    given = dict(zip(table.keys, (table.class_names[number] for number in table.given.tolist()), strict=True))
    return {key: (label, given.get(key) if old is None else old) for key, (label, old) in fixes.items()}


def _written(present: Mapping[str, str], root: Path) -> dict[str, str]:
    """How each file is called in a table that is read back to the same files and labels; names in Latin-1 as in a table of text.

    Args:
        present: label by file, relative to `root`.
        root: the folder.

    Raises:
        ValueError: listing up to ten files that no table can name.
    """
    written, faults = {}, []
    for name, label in present.items():
        text = name if _is_text(name) else os.fsencode(name).decode("latin-1")
        kept = _is_text(label) and all(part == part.strip() and not {"\n", "\r"} & set(part) for part in (text, label))
        # another file may have the name that Latin-1 makes of this one
        if not kept or files_on_disk([text], root)[0] != [name]:
            faults.append(repr(name))
        written[name] = text
    refuse(
        faults,
        f"files and folders of {root} have names that a table of labels cannot hold: with a line break, a blank at an end, or "
        "bytes that are no text",
        "rename them, and find the issues anew",
    )
    return written


def _is_text(name: str) -> bool:
    """Whether a name of the disk can be written in UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _write_labels(out: str | Path, key: str, labels: Mapping[str, str]) -> None:
    with atomic_path(out, new=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([key, "label"])
        writer.writerows(labels.items())


def _changed_labels(labels: Array, values: Array, new: Mapping[int, int]) -> Array:
    if labels.dtype.kind == "U":
        changed = labels.astype(np.promote_types(labels.dtype, values.dtype))
    elif labels.dtype.kind in "iu" and values.max() > np.iinfo(labels.dtype).max:
        changed = labels.astype(np.int64)  # a class that is only in class_names
    else:
        changed = labels.copy()
    for row, number in new.items():
        changed[row] = values[number]
    return changed


def _write_arrays(source: Path, name: str, labels: Array, out: Path) -> None:
    with atomic_path(out, new=True) as partial, zipfile.ZipFile(partial, "w", strict_timestamps=False) as new:
        if source.is_dir():
            for file in sorted(source.glob("*.npy")):
                if file.stem == name:
                    _write_member(new, zipfile.ZipInfo(file.name), labels, np.load(file, allow_pickle=False))
                else:
                    new.write(file, file.name)
            return
        with zipfile.ZipFile(source) as old, np.load(source, allow_pickle=False) as arrays:
            for item in old.infolist():
                info = copy.copy(item)  # writing puts the new place into it
                if item.filename.removesuffix(".npy") == name:
                    _write_member(new, info, labels, arrays[name])
                else:
                    with old.open(item) as member, new.open(info, "w", force_zip64=True) as target:
                        shutil.copyfileobj(member, target)


def _write_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, labels: Array, old: Array) -> None:
    if old.dtype.kind == "S":  # bytes were read as text
        labels = np.char.encode(labels, "utf-8")
    labels = labels.reshape(old.shape)
    with archive.open(info, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, labels, allow_pickle=False)
