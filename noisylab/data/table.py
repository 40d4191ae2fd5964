"""Tables of labels: comma-separated text with a header, read with every row accounted for."""

from __future__ import annotations

import csv
import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from noisylab.reading import regular

__all__ = ["LabelTable", "read_label_table"]

_MEANT = {  # what tables of others call the columns, for messages
    "file": ("filename", "file_name", "filepath", "path", "image", "image_path", "img", "name", "id"),
    "label": ("labels", "class", "classes", "category", "target", "noisy_label", "given_label", "given", "tag", "y"),
}


class LabelTable(NamedTuple):
    """Files and labels of N rows.

    Args:
        names: (N) files.
        labels: (N) labels as written.
        true_labels: (N) true labels, empty where unknown; `None` without such a column.
        rows: (N) number of each row in the table, the header being row 1 as in a spreadsheet.
        faults: (N) why a row cannot be used; empty for one that can.
    """

    names: list[str]
    labels: list[str]
    true_labels: list[str] | None
    rows: list[int]
    faults: list[str]


def read_label_table(path: Path, file_column: str | None = None, label_column: str | None = None) -> LabelTable:
    """The rows of a comma-separated table with the columns ``file``, ``label`` and perhaps ``true_label``.

    Args:
        path: the table, in UTF-8, with a header.
        file_column: the column of the files, if it has another name.
        label_column: the column of the labels, likewise.

    Raises:
        FileNotFoundError: when the table does not exist.
        ValueError: when it is no table, or a column is missing or there twice.
    """
    file_column, label_column = file_column or "file", label_column or "label"
    if file_column == label_column:
        raise ValueError(f"file_column and label_column are both {file_column!r}; name two columns")
    try:
        with regular(path).open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"there is no table {path}; check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table in UTF-8: {error}; save it as comma-separated UTF-8 text") from error
    columns = [name.strip() for name in lines[0]] if lines else []
    wanted = {"file": file_column, "label": label_column, "true_label": "true_label"}
    absent = {use: name for use, name in wanted.items() if name not in columns and use != "true_label"}
    if absent:
        hint = " Separate columns by commas." if len(columns) == 1 and any(mark in columns[0] for mark in ";\t") else ""
        near = [f"{use}_column={found}" for use, name in absent.items() if (found := _near(use, name, columns))]
        hint += f" If the names differ, say so: {' and '.join(near)}." if near else ""
        raise ValueError(
            f"{path} has no column {' and no column '.join(absent.values())}; its first line has "
            f"{', '.join(columns) or 'nothing'}, needed are {file_column}, {label_column} and optionally true_label.{hint}"
        )
    twice = [name for name in wanted.values() if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has the column {twice[0]} {columns.count(twice[0])} times; rename or remove the others")
    numbered = [(number, line) for number, line in enumerate(lines[1:], start=2) if any(cell.strip() for cell in line)]
    if not numbered:
        raise ValueError(f"{path} has a header but no rows; list one image a row")
    cells = {
        use: [line[columns.index(name)].strip() if columns.index(name) < len(line) else "" for _, line in numbered]
        for use, name in wanted.items()
        if name in columns
    }
    names = [os.path.normpath(name).replace(os.sep, "/") if name else "" for name in cells["file"]]
    count = Counter(names)
    faults = [
        "has no file"
        if not name
        else f"{name} has no label"
        if not label
        else f"{name} has {len(line)} cells where the header has {len(columns)}: put text with a comma in quotes"
        if any(cell.strip() for cell in line[len(columns) :])
        else f"{name} is listed more than once"
        if count[name] > 1
        else ""
        for name, label, (_, line) in zip(names, cells["label"], numbered, strict=True)
    ]
    return LabelTable(names, cells["label"], cells.get("true_label"), [number for number, _ in numbered], faults)


def _near(use: str, name: str, columns: Sequence[str]) -> str | None:
    """The column that may be meant by a name that is not there."""
    by_name = {column.lower(): column for column in reversed(columns) if column}
    found = difflib.get_close_matches(name.lower(), by_name, n=1)
    return next((by_name[meant] for meant in (name.lower(), *_MEANT[use], *found) if meant in by_name), None)
