"""Reads tables from files, folders and the hub of Hugging Face, and tells which of their splits are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from noisylab.data.frames.columns import Columns
from noisylab.data.frames.exports import tool_table
from noisylab.data.frames.folders import FORMATS, format_of, read_folder
from noisylab.data.frames.hub import hub_name, read_hub
from noisylab.data.notes import note
from noisylab.data.tableparts import parts_of

__all__ = ["read_tables", "splits_of"]

_TRAIN, _TEST, _VALIDATION = "train", "test", ("validation", "valid", "val", "dev")
_PART_COLUMNS = ("split", "splits", "data_split", "dataset_split", "datasplit", "subset", "partition")


def read_tables(path: str) -> dict[str, Columns]:
    """The tables of a file, a folder or a data set of the hub, by split; one without splits is called "train".

    Args:
        path: one of

            - a comma-separated file with a header, in UTF-8 (``.csv``, ``.csv.gz``); what its columns hold is inferred;
            - JSON: a record a line (``.jsonl``) or a list of records (``.json``), also with ``.gz``;
            - ``.json`` of Label Studio or in COCO's format, see `noisylab.data.frames.exports.tool_table`;
            - ``.parquet``, ``.arrow``, ``.feather`` (the extra `tables`);
            - a folder of such files, see `read_folder`, or one that ``save_to_disk`` of the package datasets wrote;
            - "owner/name" or "hf://owner/name", a data set of the hub (the extra `datasets`), see `read_hub`.

            A column ``split`` with the words train, test and so on divides a table into splits.

    Raises:
        FileNotFoundError: there is no such file, folder or data set.
        ModuleNotFoundError: naming the extra that is needed.
        ValueError: it cannot be read, naming the line, row or column.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        return _divided(read_folder(file))
    of_tool = tool_table(file) if file.suffix.lower() == ".json" else None
    if of_tool is not None:
        return {_TRAIN: of_tool}
    known = format_of(file)
    if known is not None and not path.startswith("hf://"):
        return _divided({_TRAIN: known[1]([file], str(file))})
    if not file.exists() and file.name.startswith("<"):
        raise FileNotFoundError(
            f"{path} is a table in memory, which no file describes: make the data again with from_dataframe, from_dataset or "
            "from_torch, or write the table to a parquet file and name that"
        )
    if not file.exists() and hub_name(path) is not None:
        return read_hub(path)
    if not file.exists():
        raise FileNotFoundError(f"there is no table {path}; check the path")
    raise ValueError(f"{path} is no table that can be read, by its ending; save it as one of {', '.join(FORMATS)}")


def _divided(tables: dict[str, Columns]) -> dict[str, Columns]:
    """A single table by its column of splits, if it has one."""
    if len(tables) > 1:
        return tables
    (table,) = tables.values()
    columns = {
        name: column.texts()
        for name, column in table.columns.items()
        if name.lower() in _PART_COLUMNS and column.kind in ("text", "class")
    }
    parted = parts_of(table.where, columns, range(len(table)))
    if parted.parts is None or len(table.columns) == 1:
        return tables
    parts = np.array(parted.parts, dtype=np.str_)
    bare = np.flatnonzero(parts == "")
    if len(bare):
        raise ValueError(
            f"{table.where}: {len(bare):,} rows have nothing in the column {parted.column}, which names the split; the first "
            f"is row {bare[0]}"
        )
    found = list(dict.fromkeys(parts.tolist()))
    rest = {other: column for other, column in table.columns.items() if other != parted.column}
    ids = table.ids if table.ids is not None else [str(row) for row in range(len(table))]
    counts = ", ".join(f"{int((parts == part).sum()):,} {part} rows" for part in found)
    said = f"{table.where}, by its column {parted.column}: {counts}"
    whole = replace(table, columns=rest, ids=ids, account=[*table.account, said])
    return {
        part: replace(whole.take(np.flatnonzero(parts == part)), where=f"{table.where}, {part} rows")
        for part in sorted(found, key=("train", "test", "val").index)
    }


def splits_of(
    tables: Mapping[str, Columns], test_table: str | None, split: str | None, test_split: str | None, label: str | None = None
) -> tuple[Columns, Columns | None]:
    """The table to train on and that to test on.

    Args:
        tables: by split.
        test_table: a file with the test rows, if they are not in `tables`.
        split: to train on; `None` for "train", or the only one.
        test_split: to test on; `None` for "test" or, without one, that for validation, which is said. A split without a single
            label is passed over, which is said.
        label: the column of the labels, by which that is seen.

    Raises:
        ValueError: naming a split that is not there.
    """
    first = split or (_TRAIN if _TRAIN in tables or len(tables) > 1 else next(iter(tables)))
    if first not in tables:
        raise ValueError(f"split={first!r} is none of the splits, which are {', '.join(tables)}; name one of them")
    train = tables[first]
    if test_table is not None:
        other = read_tables(test_table)
        only = next(iter(other)) if len(other) == 1 else _TEST if _TEST in other else None
        test: Columns | None = splits_of(other, None, test_split or only, None)[0]
        return _accounted(train, [name for name in tables if name != first], tables), test
    said: list[str] = []
    found = test_split
    for name in (_TEST, *_VALIDATION) if found is None else ():
        if name not in tables or name == first or found is not None:
            continue
        if _labeled(tables[name], label):
            found = name
        else:
            said.append(f"{tables[name].where} has no labels, so it is not tested on")
    if found is not None and found not in tables:
        raise ValueError(f"test_split={found!r} is none of the splits, which are {', '.join(tables)}; name one of them")
    if test_split is None and found is not None and found != _TEST:
        said.append(f"{tables[found].where}: {found} is the test set, as no other split is called test and has labels")
    for text in said:
        note(text)
    train.account.extend(text for text in said if text not in train.account)
    unread = [name for name in tables if name not in (first, found) and _labeled(tables[name], label)]
    return _accounted(train, unread, tables), None if found is None else tables[found]


def _accounted(train: Columns, unread: list[str], tables: Mapping[str, Columns]) -> Columns:
    """The table to train on, with what is said of splits that are not read."""
    if unread:
        rows = ", ".join(f"{name} ({len(tables[name]):,} rows)" for name in unread)
        hint = "; validation rows are held out of the training rows (val_fraction)" if set(unread) & {*_VALIDATION} else ""
        text = f"{train.where}: other splits are not read: {rows}{hint}"
        train.account.extend([text] if text not in train.account else [])
    return train


def _labeled(table: Columns, label: str | None) -> bool:
    """Whether any row has a label; True where that is not known."""
    column = None if label is None else table.columns.get(label)
    if column is None:
        return True
    numbers = column.kind == "number" and column.written is None
    return bool((~column.missing & (np.asarray(column.values) != -1 if numbers else True)).any())
