"""Reads tables from text: comma-separated values, JSON records, JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisylab.data.frames.columns import Column, Columns
from noisylab.data.frames.values import column_of_cells, column_of_values, kinds_in_words
from noisylab.data.table import cell_of, read_records, separated, text_of

__all__ = ["read_csv", "read_json"]


def read_csv(files: Sequence[Path], where: str) -> Columns:
    """The rows of comma-separated tables in UTF-8, one after the other; the kinds of columns are inferred from all of them.

    Args:
        files: parts of one table, with the same header.
        where: its name in messages.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: it is no such table, or the headers differ.
    """
    header: list[str] = []
    rows: list[list[str]] = []
    for file in files:
        found, numbered = read_records(file).split(file)
        check_names(found, str(file), separated(found))
        if header and found != header:
            raise ValueError(
                f"{file} has the columns {', '.join(found)}, and {files[0]} has {', '.join(header)}; parts of one table have the "
                "same columns in the same order"
            )
        header = found
        for number, record in numbered:
            if any(cell.strip() for cell in record.cells[len(header) :]):
                raise ValueError(
                    f"{file}, row {number} (line {record.line}) has {len(record.cells)} cells where the header has "
                    f"{len(header)}: put text with a comma in quotes"
                )
            rows.append([cell_of(record, place) for place in range(len(header))])
    columns, said = {}, []
    for place, name in enumerate(header):
        columns[name], told = column_of_cells(name, [row[place] for row in rows])
        said += told
    ids = None
    if not header[0] and len(header) > 1:  # as pandas writes the names of rows
        named = columns.pop("").texts()
        ids = named if all(named) and len(set(named)) == len(named) else None
        said.append(f"its first column, which has no name, {'names the rows' if ids else 'is not read'}")
    return counted(Columns(where, columns, ids=ids, folder=files[0].parent), said)


def check_names(names: Sequence[str], where: str, hint: str = "") -> None:
    """Refuse columns without a name, and two of one name.

    Raises:
        ValueError: naming them.
    """
    twice = [name for name, many in Counter(names).items() if many > 1 and name]
    if twice:
        raise ValueError(
            f"{where} has the column {twice[0]!r} {Counter(names)[twice[0]]} times; rename or remove the others{hint}"
        )
    if "" in names[1:]:
        raise ValueError(f"{where} has {names.count('')} columns without a name; name them in its first line{hint}")
    if hint:
        raise ValueError(f"{where} has one column, {names[0]!r}{hint}")


def counted(table: Columns, said: Sequence[str]) -> Columns:
    """The table with what is told about it: rows, columns by kind, and further sentences; refused without a row.

    Raises:
        ValueError: for a table without a row.
    """
    if not len(table):
        raise ValueError(f"{table.where} has columns ({', '.join(table.columns)}) but no rows")
    table.account[:0] = [
        f"{table.where}: {len(table):,} rows; {kinds_in_words(table.columns)}",
        *(f"{table.where}: {text}" for text in said),
    ]
    return table


def read_json(files: Sequence[Path], where: str) -> Columns:
    """The records of JSON files, one after the other: a record a line, a list of records, or what pandas and others write.

    Args:
        files: parts of one table.
        where: its name in messages.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: it is not JSON, or holds no records; the line is named.
    """
    records: list[dict[str, Any]] = []
    ids: list[str] = []
    for file in files:
        found, names = _records(file)
        records += found
        ids += names
    if not records:
        raise ValueError(f"{where} holds no records")
    order = dict.fromkeys(name for record in records for name in record)
    if not order:
        raise ValueError(f"{where} has records without any value")
    columns: dict[str, Column] = {}
    said: list[str] = []
    for name in order:
        values = [record.get(name) for record in records]
        columns[name], told = column_of_values(name, values)
        if columns[name].kind == "text" and not told:
            columns[name] = _dates(name, columns[name])
        said += told
    return counted(Columns(where, columns, ids=ids if len(ids) == len(records) else None, folder=files[0].parent), said)


def _dates(name: str, column: Column) -> Column:
    """A column of text, or of dates where all of its texts are some."""
    if not all(text[:1].isdigit() or gone for text, gone in zip(column.values, column.missing.tolist(), strict=True)):
        return column
    if any(not text and not gone for text, gone in zip(column.values, column.missing.tolist(), strict=True)):
        return column
    found, _ = column_of_cells(name, list(column.values))
    return found if found.kind == "date" else column


def _records(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of a file, and their names where it has some."""
    _, text = text_of(file)
    if not text.strip():
        raise ValueError(f"{file} is empty")
    lines = file.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    if not lines:
        try:
            return _of_whole(json.loads(text, object_pairs_hook=_once), file)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data" or not text.lstrip().startswith("{"):  # else a record a line under another name
                raise ValueError(
                    f"{file}, line {error.lineno}: not JSON ({error.msg}); is a part of the file missing?"
                ) from error
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    records = []
    for number, line in enumerate(text.split("\n"), start=1):  # other line ends than this may stand in a JSON text
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number}: not JSON ({error.msg}); each line is one record {{...}}") from error
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{file}, line {number}: not a record {{...}} but {str(record)[:40]!r}")  # noqa: TRY004
        records.append(record)
    return records, []


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = next(name for name, many in Counter(name for name, _ in pairs).items() if many > 1)
        raise ValueError(f"a record has the name {twice!r} twice; rename or remove one")
    return record


def _of_whole(content: Any, file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    if isinstance(content, dict):
        inner = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        values = list(content.values())
        if len(inner) == 1:  # {"version": ..., "data": [...]}
            content = inner[0]
        elif values and all(isinstance(value, list) for value in values) and len({*map(len, values)}) == 1:
            return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)], []
        elif values and all(isinstance(value, dict) for value in values) and len({tuple(value) for value in values}) == 1:
            names = list(values[0])  # columns of pandas, each by the names of the rows
            rows = [{name: column[row] for name, column in content.items()} for row in names]
            return rows, [] if names == [str(row) for row in range(len(names))] else names
        elif not any(isinstance(value, dict | list) for value in values):
            content = [content]
    if isinstance(content, list) and all(isinstance(record, dict) for record in content):
        return content, []
    if isinstance(content, list):
        row = next(place for place, record in enumerate(content) if not isinstance(record, dict))
        raise ValueError(f"entry {row} of the list is not a record {{...}} but {str(content[row])[:40]!r}")  # noqa: TRY004
    raise ValueError("it is no list of records: [{...}, {...}]; write it so, or a record a line (.jsonl)")
