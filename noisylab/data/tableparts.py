"""Parts of the data given by a column of a label table: rows for training, validation and testing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from noisylab.data.folders import listed, part_of_data, shown

__all__ = ["TableParts", "parts_of"]

_COLUMNS = {"split", "splits", "datasplit", "set", "subset", "fold", "folds", "partition", "phase"}  # without other signs, in
_COLUMNS |= {"datasetsplit", "trainvaltest", "traintest", "traintestsplit"}  # lower case
_YES, _NO = {"true", "1", "1.0", "yes", "t", "y"}, {"false", "0", "0.0", "no", "f", "n"}
_FLAG = re.compile(r"is(?P<part>.+?)(image|row|sample)?")
_FEW = 20  # values of a column that may be one of parts
_SIGNS = re.compile(r"[\W_]+")


class TableParts(NamedTuple):
    """The parts of the data given by a table.

    Args:
        column: the column, or columns, as they are called.
        parts: (N) "train", "val" or "test"; empty for a row that names none.
        notes: what a user is told of columns that look like parts and are not read.
    """

    column: str
    parts: list[str] | None
    notes: list[str]


def parts_of(where: str, columns: Mapping[str, Sequence[str]], numbers: Sequence[int]) -> TableParts:
    """The part of each row, by a column that is called ``split`` (or set, subset, fold, partition, phase) and whose values are
    called like parts of data, see `part_of_data`; or by columns of yes and no such as ``is_valid``.

    Args:
        where: the table, for messages.
        columns: (N) cells by name of the column, those of files and labels left out.
        numbers: (N) numbers of the rows, for messages.

    Returns:
        The parts, `None` where no column names any.

    Raises:
        ValueError: when some values of a column are parts and others are not, when two columns disagree, or when there are rows
            to validate with and to test on but none to train on.
    """
    found: dict[str, list[str]] = {}
    flags: dict[str, tuple[str, Sequence[str]]] = {}
    notes: list[str] = []
    for name, cells in columns.items():
        bare = _SIGNS.sub("", name.lower())
        flag = _FLAG.fullmatch(bare)
        part = None if flag is None else part_of_data(flag["part"])
        values = Counter(cell for cell in cells if cell)
        if part is not None and {value.lower() for value in values} <= _YES | _NO:
            flags[name] = part, cells
        elif bare in _COLUMNS and values:
            known = {value: kind for value in values if (kind := part_of_data(value))}
            others = sorted(values.keys() - known.keys())
            if known and others:
                rows = sum(values[value] for value in others)
                raise ValueError(
                    f"{where}: the column {shown(name)} names {listed([*known])}, which are parts of the data, and "
                    f"{listed(others)} ({rows:,} rows), which is not; write train, val or test, remove these rows, or rename "
                    "the column if it means something else"
                )
            if known:
                found[name] = [known.get(cell, "") for cell in cells]
            elif len(others) <= _FEW:
                notes.append(
                    f"{where}: the column {shown(name)} ({listed(others)}) is not read; rows are told apart by train, val and "
                    "test there, or by --data.folds"
                )
    if flags:
        found[" and ".join(flags)] = _by_flags(where, flags, numbers)
    if not found:
        return TableParts("", None, notes)
    (column, parts), *more = found.items()
    for other, others in more:
        differ = next((row for row, pair in enumerate(zip(parts, others, strict=True)) if pair[0] != pair[1]), None)
        if differ is not None:
            raise ValueError(
                f"{where}: the columns {shown(column)} and {shown(other)} name different parts of the data, first "
                f"{parts[differ] or 'none'} and {others[differ] or 'none'} for row {numbers[differ]}; remove one of them"
            )
    kinds = {part for part in parts if part}
    if len(kinds) > 1 and "train" not in kinds:
        raise ValueError(
            f"{where}: the column {shown(column)} names rows of {listed(sorted(kinds))}, but none to train on; write train for "
            "those, or remove the column"
        )
    return TableParts(column, parts, notes)


def _by_flags(where: str, flags: Mapping[str, tuple[str, Sequence[str]]], numbers: Sequence[int]) -> list[str]:
    """The part of each row by columns of yes and no; what is in no other part is trained on, or tested on where `is_train` says
    no."""
    rest = "test" if "train" in [part for part, _ in flags.values()] else "train"
    parts = []
    for row, *cells in zip(numbers, *(cells for _, cells in flags.values()), strict=True):
        said = [part for (part, _), cell in zip(flags.values(), cells, strict=True) if cell.lower() in _YES]
        if len(said) > 1:
            raise ValueError(
                f"{where}: row {row} is {' and '.join(said)}, as the columns {', '.join(flags)} say; a row belongs to one part"
            )
        parts.append("" if not all(cells) else said[0] if said else rest)
    return parts
