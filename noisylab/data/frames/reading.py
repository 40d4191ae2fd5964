"""Reads tables from files of many formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from noisylab.data.frames.columns import Column, Columns
from noisylab.data.notes import note
from noisylab.data.table import cell_of, read_records

__all__ = ["read_tables", "splits_of"]

_TRAIN, _TEST, _VALIDATION = "train", "test", ("validation", "valid", "val", "dev")


def read_tables(path: str) -> dict[str, Columns]:
    """The tables of a file, by split; one without splits is called "train".

    Args:
        path: a comma-separated file with a header, in UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    return {_TRAIN: _text_table(Path(path))}


def _text_table(path: Path) -> Columns:
    header, rows = read_records(path).split(path)
    columns = {}
    for place, name in enumerate(header):
        cells = [cell_of(record, place) for _, record in rows]
        columns[name] = Column("text", cells, np.array([not cell for cell in cells]))
    return Columns(str(path), columns, folder=path.parent)


def splits_of(
    tables: Mapping[str, Columns], test_table: str | None, split: str | None, test_split: str | None
) -> tuple[Columns, Columns | None]:
    """The table to train on and that to test on.

    Args:
        tables: by split.
        test_table: a file with the test rows, if they are not in `tables`.
        split: to train on; `None` for "train", or the only one.
        test_split: to test on; `None` for "test" or, without one, that for validation, which is said.

    Raises:
        ValueError: naming a split that is not there.
    """
    first = split or (_TRAIN if _TRAIN in tables or len(tables) > 1 else next(iter(tables)))
    if first not in tables:
        raise ValueError(f"split={first!r} is none of the splits, which are {', '.join(tables)}; name one of them")
    if test_table is not None:
        return tables[first], splits_of(read_tables(test_table), None, test_split or None, None)[0]
    found = test_split or next((name for name in (_TEST, *_VALIDATION) if name in tables and name != first), None)
    if found is None:
        return tables[first], None
    if found not in tables:
        raise ValueError(f"test_split={found!r} is none of the splits, which are {', '.join(tables)}; name one of them")
    if test_split is None and found != _TEST:
        note(f"{tables[found].where}: without a split called test, {found} is the test set")
    return tables[first], tables[found]
