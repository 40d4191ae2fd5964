"""Corrected copies of tables in the format that they came in: comma-separated, JSON, parquet, Arrow, saved data sets."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisylab.data.frames.columns import Columns
from noisylab.data.frames.folders import format_of
from noisylab.data.frames.module import written
from noisylab.data.frames.reading import read_tables, splits_of
from noisylab.data.labels import LabelNames, read_labels
from noisylab.data.missing import Missing
from noisylab.data.table import read_records, text_of
from noisylab.files import atomic_path
from noisylab.issues.fixes import Applied, Fixes, applied_of, changes_of, refuse_existing

__all__ = ["SAVED_MARKS", "apply_to_frame", "whole_copy"]

SAVED_MARKS = ("state.json", "dataset_dict.json")
"""Files of a folder that `save_to_disk` of the package datasets wrote."""

_ZIPPED = ".gz"


def apply_to_frame(
    path: str,
    fixes: Fixes,
    out: str | Path,
    *,
    label: str,
    id_column: str | None = None,
    split: str | None = None,
    missing: Missing = "auto",
) -> Applied:
    """Write a copy of a table in which only the labels of the fixes differ.

    A label is written as other rows of its class have it: by name, by number, with the type of its column.

    Args:
        path: the table that the labels were ranked in: a file, or a folder that the package datasets has saved. Others are
            written as a table of labels alone.
        fixes: by the names of the rows, or by their numbers from 0.
        out: the new file or folder, which must not be there yet. A file of the same ending is a whole copy: comma-separated text
            and JSON keep every other byte, parquet and Arrow their schema and its metadata, in the same order of rows. One that
            ends in .csv, of a table in another format, has the columns ``id`` (or ``index``) and ``label``.
        label: the column of the labels.
        id_column: that of the names of the rows; `None` for those that the table itself has, or their numbers.
        split: that the labels were ranked in, of a saved data set.
        missing: which labels are none, as the run was told; their rows stay as they are.

    Raises:
        FileExistsError: when `out` already exists, above all when it is the table itself.
        FileNotFoundError: without the table.
        ValueError: when `out` has another ending, when a column is missing, and for fixes as in `changes_of`. Nothing is written.
    """
    source, out = Path(path).expanduser(), Path(out)
    refuse_existing(out, source)
    known = None if source.is_dir() else format_of(source)
    saved, whole = _is_saved(source), whole_copy(path, out)
    if not whole and out.suffix != ".csv":
        copy = f"{_ending(source)}, for a copy of the table, or in " if known is not None else ""
        copy = "nothing, for a folder that the package datasets loads, or in " if saved else copy
        raise ValueError(f"out must end in {copy}.csv, for the labels alone; got {out}")
    table = _table(source, path, split)
    rows = _Rows(table, label, id_column, missing)
    changes, same = changes_of(fixes, rows.present, rows.names, table.where)
    donors = rows.donors(changes)
    if whole and known is not None:
        _WRITERS[known[0]](source, out, label, donors)
    elif whole:
        _write_saved(source, out, label, donors, split)
    else:
        _write_labels(out, "index" if rows.numbered else "id", {**rows.present, **changes})
    return applied_of(changes, same, rows.present)


def whole_copy(path: str, out: Path) -> bool:
    """Whether `out` becomes a copy of the table, as opposed to a table of labels alone."""
    source = Path(path).expanduser()
    if _is_saved(source):
        return not out.suffix
    return not source.is_dir() and format_of(source) is not None and _ending(out) == _ending(source)


def _is_saved(source: Path) -> bool:
    return any((source / name).is_file() for name in SAVED_MARKS)


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:] if path.suffix == _ZIPPED else path.suffixes[-1:]).lower()


def _table(source: Path, path: str, split: str | None) -> Columns:
    """All rows of a file, in its order, or those of the split."""
    known = None if source.is_dir() else format_of(source)
    if known is not None:  # not divided by its column of splits
        return known[1]([source], str(source))
    return splits_of(read_tables(path), None, split, None)[0]


class _Rows:
    """The rows of a table by name, with their labels.

    Args:
        table: it.
        label: see `apply_to_frame`, and so on.
        id_column: see there.
        missing: see there.
    """

    def __init__(self, table: Columns, label: str, id_column: str | None, missing: Missing) -> None:
        column, where = table.named(label, "label"), f"the column {label} of {table.where}"
        names = None if column.names is None else np.array(column.names, dtype=np.str_)
        labels, gone = read_labels(written(column), where, missing, names)
        classes = LabelNames.of(labels[~gone.mask], names, where)
        self.names = classes.names
        self._numbers: NDArray[np.int64] = classes.numbers(labels, where, skip=gone.mask).numpy()
        ids = table.ids if id_column is None else table.named(id_column, "id_column").texts()
        self.numbered = ids is None
        self.keys = [str(row) for row in range(len(table))] if ids is None else list(ids)
        if len(set(self.keys)) < len(self.keys):
            raise ValueError(f"{table.where} has row ids that occur twice, so corrections cannot find back; make them different")
        self.present = {key: "" if k < 0 else self.names[k] for key, k in zip(self.keys, self._numbers.tolist(), strict=True)}
        self._where = where

    def donors(self, changes: Mapping[str, str]) -> dict[int, int]:
        """For each row that changes, a row that has the label already: the way it is written there is the way to write it.

        Raises:
            ValueError: no row has it.
        """
        first = {int(k): int(row) for row, k in reversed(list(enumerate(self._numbers))) if k >= 0}
        place = {key: row for row, key in enumerate(self.keys)}
        absent = sorted({name for name in changes.values() if self.names.index(name) not in first})
        if absent:
            raise ValueError(
                f"no row of {self._where} has the label {absent[0]!r}, so it is not known how it is written there; give one row "
                "that label by hand, and apply the list again"
            )
        return {place[key]: first[self.names.index(name)] for key, name in changes.items()}


# ---- formats


def _write_csv(source: Path, out: Path, label: str, donors: Mapping[int, int]) -> None:
    table = read_records(source)
    header, rows = table.split(source)
    at = header.index(label)
    cells = [record.cells[at] if at < len(record.cells) else "" for _, record in rows]
    new = {rows[row][0]: cells[donor] for row, donor in donors.items()}
    texts = [
        record.with_cell(at, new[number]) if number in new else record.raw for number, record in enumerate(table.records, start=1)
    ]
    _write_text(out, table.mark + "".join(texts).encode("utf-8"))


def _write_json(source: Path, out: Path, label: str, donors: Mapping[int, int]) -> None:
    mark, text = text_of(source)
    spans = _label_spans(text, label, source)
    pieces, end = [], 0
    for row in sorted(donors):
        (start, stop), donor = spans[row], spans[donors[row]]
        pieces += [text[end:start], text[slice(*donor)]]
        end = stop
    _write_text(out, mark + "".join([*pieces, text[end:]]).encode("utf-8"))


def _label_spans(text: str, label: str, source: Path) -> list[tuple[int, int]]:
    """Where the value of the label is in each record of JSON text, as its first place and the one behind it."""
    spans: list[tuple[int, int]] = []
    decoder, at = json.JSONDecoder(), _after_blanks(text, 0, "[,")
    while at < len(text) and text[at] == "{":
        found, at = None, _after_blanks(text, at + 1)
        while text[at] != "}":
            name, at = decoder.raw_decode(text, at)
            start = _after_blanks(text, at, ":")
            _, at = decoder.raw_decode(text, start)
            found = (start, at) if name == label else found
            at = _after_blanks(text, at, ",")
        if found is None:
            raise ValueError(f"{source}: record {len(spans)} has no {label!r}, so no copy is made; write the labels as .csv")
        spans.append(found)
        at = _after_blanks(text, at + 1, ",")
    if text[at:].strip() not in ("", "]"):
        raise ValueError(f"{source} is no list of records, nor one in each line, so no copy is made; write the labels as .csv")
    return spans


def _after_blanks(text: str, at: int, marks: str = "") -> int:
    while at < len(text) and (text[at].isspace() or text[at] in marks):
        at += 1
    return at


def _write_text(out: Path, content: bytes) -> None:
    with atomic_path(out, new=True) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0) if out.suffix == _ZIPPED else content)


def _write_parquet(source: Path, out: Path, label: str, donors: Mapping[int, int]) -> None:
    from pyarrow import parquet

    file = parquet.ParquetFile(source)
    first = file.metadata.row_group(0)
    new = _replaced(file.read(), label, donors)
    with atomic_path(out, new=True) as partial:
        parquet.write_table(
            new, partial, compression=first.column(0).compression.replace("UNCOMPRESSED", "NONE"), row_group_size=first.num_rows
        )


def _write_arrow(source: Path, out: Path, label: str, donors: Mapping[int, int]) -> None:
    from pyarrow import ipc

    with source.open("rb") as file:
        in_file = file.read(6) == b"ARROW1"
        file.seek(0)
        table = (ipc.open_file if in_file else ipc.open_stream)(file).read_all()
    new = _replaced(table, label, donors)
    make = ipc.new_file if in_file else ipc.new_stream
    with atomic_path(out, new=True) as partial, make(str(partial), new.schema) as writer:
        writer.write_table(new)


def _replaced(table: Any, label: str, donors: Mapping[int, int]) -> Any:
    """An Arrow table whose labels are those of other rows where they change; its schema stays."""
    rows = np.arange(table.num_rows)
    rows[list(donors)] = list(donors.values())
    at = table.column_names.index(label)
    return table.set_column(at, table.schema.field(at), table.column(at).take(rows))


def _write_saved(source: Path, out: Path, label: str, donors: Mapping[int, int], split: str | None) -> None:
    """A data set of the package datasets, saved anew with other labels in one split."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'a saved data set is written by the package datasets ({error}): pip install "noisylab[datasets]"', name="datasets"
        ) from error
    whole: Any = datasets.load_from_disk(str(source))
    parts = whole if isinstance(whole, datasets.DatasetDict) else None
    name = split or ("train" if parts is not None and "train" in parts else None)
    name = next(iter(parts)) if parts is not None and name is None else name
    part = whole if parts is None else parts[name]
    new = datasets.Dataset(_replaced(part.data.table, label, donors), info=part.info, split=part.split)
    made = new if parts is None else datasets.DatasetDict({**parts, name: new})
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        made.save_to_disk(str(Path(folder) / "new"))
        refuse_existing(out)
        (Path(folder) / "new").replace(out)


def _write_labels(out: Path, key: str, labels: Mapping[str, str]) -> None:
    with atomic_path(out, new=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([key, "label"])
        writer.writerows(labels.items())


_WRITERS: Mapping[str, Callable[[Path, Path, str, Mapping[int, int]], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".jsonl": _write_json,
    ".ndjson": _write_json,
    ".parquet": _write_parquet,
    ".pq": _write_parquet,
    ".arrow": _write_arrow,
    ".feather": _write_arrow,
}
