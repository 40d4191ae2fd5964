"""Reads labels of several annotators from files: a row a label, a column an annotator, or counts."""

from __future__ import annotations

import csv
import difflib
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from noisylab.crowd.annotations import Annotations, Array
from noisylab.reading import check_arrays, regular

__all__ = ["Layout", "read_annotations", "read_quietly"]

Layout: TypeAlias = Literal["auto", "long", "wide", "counts"]
"""How a table of labels is laid out; see `read_annotations`."""

_ITEMS = ("row", "file", "index", "")  # other names of the column of items; pandas writes an index without one
_NONE = ("", "-1", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null")
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0*")  # how a column of numbers with gaps is often written
_NUMBER = re.compile(r"[+-]?[0-9]+")
_SHOWN = 10


def read_annotations(
    path: str | Path,
    layout: Layout = "auto",
    item: str = "item",
    annotator: str = "annotator",
    label: str = "label",
    key: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Annotations:
    """Labels of several annotators; warns of what looks wrong.

    The layouts, as comma-separated text with a header, in UTF-8, or, where pandas can read it, as parquet:

    - "long": a row a label, with the columns item, annotator and label, in any order; other columns are ignored.
    - "wide": a row an item, with a column for each annotator, and one of the items (``item``, ``row``, ``file``, ``index`` or
      without a name).
    - "counts": a row an item, with a column for each class that says how many gave it; who did is not known.

    An array (.npy, or .npz with `key`) is wide or counts, its rows being the items 0, 1, ...; which it is must be said.

    No label is an empty cell, -1, NaN or NA. Of labels that an annotator gave to the same item twice the last one counts, with a
    warning.

    Args:
        path: the file.
        layout: see above; "auto" is long where there are columns of annotators and labels, counts where the columns are the
            `class_names`, else wide.
        item: name of the column of items.
        annotator: name of the column of annotators, in a long table.
        label: name of the column of labels, in a long table.
        key: name of the array in an .npz.
        class_names: of the data, to tell counts from annotators; their order is not used.

    Returns:
        The labels; classes are those that occur, numbers in their order, else by their characters.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming up to ten rows, or columns, at fault.
    """
    found = read_quietly(path, layout, item, annotator, label, key, class_names)
    for note in found.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return found


def read_quietly(
    path: str | Path,
    layout: Layout = "auto",
    item: str = "item",
    annotator: str = "annotator",
    label: str = "label",
    key: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Annotations:
    """The same without warnings: they are `Annotations.notes`."""
    if layout not in ("auto", "long", "wide", "counts"):
        raise ValueError(f"layout must be 'auto', 'long', 'wide' or 'counts', got {layout!r}")
    path = Path(path)
    if path.suffix in (".npy", ".npz"):
        return _of_array(path, layout, key)
    header, rows = _parquet(path) if path.suffix == ".parquet" else _text(path)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} {header.count(twice[0])} times; rename or remove the others")
    if layout == "auto" and annotator in header and label in header:
        layout = "long"
    place = _item_column(path, header, item)
    if layout == "long":
        lacking = [name for name in (annotator, label) if name not in header]
        if lacking:
            raise ValueError(
                f"{path} has no column {lacking[0]!r}, it has {', '.join(map(repr, header))}; {_hint(lacking[0], header)}"
            )
        columns = [place, header.index(annotator), header.index(label)]
        return _of_long(path, [[row[column] for column in columns] for row in rows])
    others = [column for column in range(len(header)) if column != place]
    names = [header[column] for column in others]
    if len(names) < 2:
        raise ValueError(
            f"{path} has the columns {', '.join(map(repr, header))}; it needs {item}, {annotator} and {label}, or two "
            "annotators' columns beside that of the items, separated by commas"
        )
    items = [row[place].strip() for row in rows]
    _refuse_twice(path, items)
    if layout == "counts" or (layout == "auto" and class_names is not None and set(names) <= set(class_names)):
        return _of_counts(path, rows, others, items, names)
    return _of_wide(path, [[row[column] for column in others] for row in rows], items, names)


def _item_column(path: Path, header: list[str], item: str) -> int:
    for name in (item, *(_ITEMS if item == "item" else ())):
        if name in header:
            return header.index(name)
    raise ValueError(f"{path} has no column {item!r} of items, it has {', '.join(map(repr, header))}; {_hint(item, header)}")


def _hint(name: str, header: list[str]) -> str:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        return "separate the columns by commas"
    near = difflib.get_close_matches(name, header, n=1)
    return f"is it {near[0]!r}? Say which column it is" if near else "say which column it is"


def _text(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of comma-separated text; rows without any text are left out."""
    try:
        content = regular(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(f"there is no table {path}; check the path") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as CSV in UTF-8") from error
    if "\0" in text:
        raise ValueError(f"{path} is no text table: it holds a zero byte; save it as CSV in UTF-8")
    try:
        rows = [
            (number, row) for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1) if row
        ]
    except csv.Error as error:
        raise ValueError(f"{path} is no comma-separated text: {error}; save it as CSV in UTF-8") from error
    if not rows:
        raise ValueError(f"{path} is empty; it needs a header and rows")
    header = [name.strip() for name in rows[0][1]]
    kept = [(number, row) for number, row in rows[1:] if any(cell.strip() for cell in row)]
    uneven = [number for number, row in kept if len(row) != len(header)]
    if uneven:
        raise ValueError(
            f"{path}: {len(uneven)} rows have another number of cells than the header's {len(header)}, the first is row "
            f"{uneven[0]}; put text with a comma in quotes"
        )
    return header, [row for _, row in kept]


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        import pandas
    except ImportError as error:
        raise ValueError(f"{path}: parquet files are read by pandas, which is missing: pip install pandas pyarrow") from error
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}; check the path")
    try:
        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise ValueError(f"{path}: pandas needs pyarrow to read parquet files: pip install pyarrow") from error
    cells = frame.astype(object).where(frame.notna(), "")
    return [str(name) for name in frame.columns], [[str(cell) for cell in row] for row in cells.itertuples(index=False)]


def _of_array(path: Path, layout: Layout, key: str | None) -> Annotations:
    try:
        check_arrays(path, () if key is None else (key,))
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.ndarray):
                held = sorted(content)
                if key not in held:
                    raise KeyError(f"it holds {', '.join(held)}; set key to one of them")
                content = content[key]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}; check the path") from error
    except Exception as error:  # whatever a damaged, encrypted or foreign file raises
        raise ValueError(f"{path} cannot be read as an array of labels: {error}") from error
    if layout not in ("wide", "counts"):
        raise ValueError(
            f"{path} is an array, which can be labels or counts: set layout to wide, (items, annotators), or to counts, (items, "
            "classes)"
        )
    if content.ndim != 2 or content.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold numbers in rows and columns, got {content.dtype} of shape {content.shape}")
    try:
        return Annotations.of_counts(content) if layout == "counts" else _of_whole(path, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _of_whole(path: Path, content: Array) -> Annotations:
    return _without_silent(path, Annotations.of_matrix(content))


def _of_counts(path: Path, rows: list[list[str]], others: list[int], items: list[str], names: list[str]) -> Annotations:
    counts = np.zeros((len(rows), len(names)))
    for number, row in enumerate(rows):
        for place, column in enumerate(others):
            cell = row[column].strip()
            whole = _plain(cell) if cell else "0"
            if not _NUMBER.fullmatch(whole) or int(whole) < 0:
                raise ValueError(
                    f"{path}: the count of {names[place]!r} for item {items[number]!r} is {cell!r}, not a whole number"
                )
            counts[number, place] = int(whole)
    return Annotations.of_counts(counts, items, names)


def _of_wide(path: Path, cells: list[list[str]], items: list[str], names: list[str]) -> Annotations:
    item, annotator, label = [], [], []
    for number, row in enumerate(cells):
        for place, cell in enumerate(row):
            said = _plain(cell.strip())
            if said not in _NONE:
                item.append(number)
                annotator.append(place)
                label.append(said)
    return _without_silent(path, _numbered(path, np.array(item, dtype=np.int64), annotator, label, items, names))


def _of_long(path: Path, cells: list[list[str]]) -> Annotations:
    said = [(item.strip(), _plain(who.strip()), _plain(label.strip())) for item, who, label in cells]
    nameless = [number for number, (item, who, _) in enumerate(said, start=2) if not item or not who]
    if nameless:
        raise ValueError(f"{path}: {len(nameless)} rows name no item or no annotator, the first is row {nameless[0]}; name them")
    items, people = _distinct([item for item, _, _ in said]), _distinct([who for _, who, _ in said])
    last: dict[tuple[str, str], str] = {}
    repeated = 0
    for item, who, label in said:
        if label not in _NONE:
            repeated += (item, who) in last
            last[item, who] = label
    number, person = ({name: place for place, name in enumerate(names)} for names in (items, people))
    rows = np.array([number[item] for item, _ in last], dtype=np.int64)
    found = _numbered(path, rows, [person[who] for _, who in last], list(last.values()), items, people)
    notes = list(found.notes)
    if repeated:
        notes.append(f"{path}: {repeated} labels were given again by the same annotator for the same item; the last one counts")
    empty = len(said) - repeated - len(last)
    if empty:
        notes.append(f"{path}: {empty} of {len(said)} rows have no label and are left out")
    return _without_silent(path, replace(found, notes=tuple(notes)))


def _numbered(
    path: Path, item: Array, annotator: list[int], label: list[str], items: Sequence[str], people: Sequence[str]
) -> Annotations:
    if not label:
        raise ValueError(f"{path} has no label: every cell is empty, -1 or NaN")
    classes = _distinct(label)
    classes = sorted(classes, key=int) if all(_NUMBER.fullmatch(name) for name in classes) else sorted(classes)
    place = {name: number for number, name in enumerate(classes)}
    order = np.argsort(item, kind="stable")
    numbers = np.array([place[name] for name in label], dtype=np.int64)
    return Annotations(
        item[order], np.array(annotator, dtype=np.int64)[order], numbers[order], tuple(items), tuple(people), tuple(classes)
    )


def _without_silent(path: Path, found: Annotations) -> Annotations:
    """The same without annotators who gave no label, which is noted."""
    counts = found.per_annotator()
    silent = [found.annotators[place] for place in np.flatnonzero(counts == 0).tolist()]
    if not silent:
        return found
    if len(silent) == found.num_annotators:
        raise ValueError(f"{path} has no label: every cell is empty, -1 or NaN")
    place = np.cumsum(counts > 0) - 1
    note = f"{path}: {len(silent)} annotators gave no label and are left out: {', '.join(silent[:_SHOWN])}"
    people = tuple(name for name, count in zip(found.annotators, counts.tolist(), strict=True) if count)
    return replace(found, annotator=place[found.annotator], annotators=people, notes=(*found.notes, note))


def _refuse_twice(path: Path, items: list[str]) -> None:
    seen: set[str] = set()
    for name in items:
        if name in seen:
            raise ValueError(f"{path} has two rows of item {name!r}; write all labels of an item in one row, or use a long table")
        seen.add(name)


def _plain(text: str) -> str:
    """A label as it is meant: a whole number without the point that a column with gaps gives it."""
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def _distinct(names: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(names))
