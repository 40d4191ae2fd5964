"""Columns of values that are no array yet: those of JSON records, of Python objects, and the cells of text tables."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisylab.data.frames.columns import Column, Kind
from noisylab.data.missing import MISSING

__all__ = ["column_of_cells", "column_of_values", "whole"]

_WHOLE = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|Inf|infinity|Infinity)")
_PADDED = re.compile(r"[+-]?0[0-9]")  # the beginning of "007", which is a name
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?Z?")
_BOOLS = {"true": True, "false": False}
_INT64 = 2**63
_EXACT = 2**53  # whole numbers up to which float64 has them all
_INEXACT = "{}: its largest numbers cannot be held exactly, so it is taken for text"
_HALF = re.compile("[\ud800-\udfff]")  # half of a pair that stands for one letter


def column_of_cells(name: str, cells: Sequence[str]) -> tuple[Column, list[str]]:
    """The column of the cells of a text table, by what all of them that are not empty can be read as.

    Numbers, "true" and "false", dates as 2024-05-31 with or without a time, else text. Numbers with leading zeros are names and
    stay text, and so do numbers that 64 bits cannot hold. In a column of numbers, words such as ``NA`` and ``nan`` are missing.

    Args:
        name: of the column.
        cells: (N) without blanks at their ends; empty ones are missing.

    Returns:
        The column, and what the user is told about it.
    """
    empty = np.array([not cell for cell in cells], dtype=bool)
    there = [cell for cell in cells if cell]
    if not there:
        return Column("text", list(cells), empty), []
    if all(cell.lower() in _BOOLS for cell in there):
        return Column("bool", np.array([_BOOLS.get(cell.lower(), False) for cell in cells]), empty, written=cells), []
    if all(map(_DATE.fullmatch, there)):
        try:
            dates = np.array([cell.removesuffix("Z") or "NaT" for cell in cells], dtype="datetime64[us]")
        except ValueError:  # a month 13
            return Column("text", list(cells), empty), []
        return Column("date", dates, empty, written=cells), []
    return _numbers(name, cells, empty) or (Column("text", list(cells), empty), [])


def _numbers(name: str, cells: Sequence[str], empty: np.ndarray[Any, Any]) -> tuple[Column, list[str]] | None:
    words = Counter(cell for cell in cells if cell in MISSING)
    there = [cell for cell in cells if cell and cell not in MISSING]
    if not there or not all(map(_REAL.fullmatch, there)) or any(map(_PADDED.match, there)):
        return None
    missing = np.array([not cell or cell in MISSING for cell in cells], dtype=bool)
    said = [f"{name}: {words.total():,} cells with {', '.join(map(repr, sorted(words)))} are missing numbers"] if words else []
    integers = [int(cell) for cell in there if _WHOLE.fullmatch(cell)]
    all_whole = len(integers) == len(there)
    if any(abs(value) >= (_INT64 if all_whole else _EXACT) for value in integers):
        return Column("text", list(cells), empty), [_INEXACT.format(name)]
    written = ["" if gone else cell for cell, gone in zip(cells, missing.tolist(), strict=True)]
    values: np.ndarray[Any, Any] = (
        np.array([int(cell or 0) for cell in written], dtype=np.int64)
        if all_whole
        else np.array([float(cell or "nan") for cell in written], dtype=np.float64)
    )
    return Column("number", values, missing, written=written), said


def column_of_values(name: str, values: Sequence[Any]) -> tuple[Column, list[str]]:
    """The column of Python values: of one type, or "other".

    Args:
        name: of the column.
        values: (N) bool, int, float, str, dates of numpy or `datetime`, lists of numbers, `None`, or anything else.

    Returns:
        The column, and what the user is told about it.
    """
    missing = np.array([value is None or (isinstance(value, float) and math.isnan(value)) for value in values], dtype=bool)
    types = Counter(_type(value) for value, gone in zip(values, missing.tolist(), strict=True) if not gone)
    kinds = set(types)
    if kinds == {"text"}:
        return _texts(name, values, missing)
    if kinds == {"yes or no"}:
        return Column("bool", np.array([bool(value) for value in values]), missing), []
    if kinds and kinds <= {"whole numbers", "numbers"}:
        return whole(name, values, missing) if kinds == {"whole numbers"} else _reals(name, values, missing)
    if kinds == {"lists of numbers"}:
        vectors = _vectors(values, missing)
        if vectors is not None:
            return vectors, []
    said = []
    if len(kinds) > 1:
        first: dict[str, int] = {}
        for row, (value, gone) in enumerate(zip(values, missing.tolist(), strict=True)):
            if not gone:
                first.setdefault(_type(value), row)
        parts = [f"{what} in {many:,} rows (the first is row {first[what]})" for what, many in types.most_common()]
        said = [f"the column {name} mixes {', '.join(parts)}; write all of its values in one way to use it"]
    return Column("other", list(values), missing), said


def whole(name: str, values: Sequence[Any], missing: np.ndarray[Any, Any]) -> tuple[Column, list[str]]:
    """The column of whole numbers of any size; those beyond 64 bits make it one of text."""
    numbers = [0 if gone else int(value) for value, gone in zip(values, missing.tolist(), strict=True)]
    if all(-_INT64 <= value < _INT64 for value in numbers):
        return Column("number", np.array(numbers, dtype=np.int64), missing), []
    texts = ["" if gone else str(value) for value, gone in zip(numbers, missing.tolist(), strict=True)]
    return Column("text", texts, missing), [f"{name}: its numbers do not fit into 64 bits, so it is taken for text"]


def _reals(name: str, values: Sequence[Any], missing: np.ndarray[Any, Any]) -> tuple[Column, list[str]]:
    there = [value for value, gone in zip(values, missing.tolist(), strict=True) if not gone]
    if any(isinstance(value, int | np.integer) and abs(int(value)) > _EXACT for value in there):
        texts = ["" if gone else str(value) for value, gone in zip(values, missing.tolist(), strict=True)]
        return Column("text", texts, missing), [_INEXACT.format(name)]
    numbers = [math.nan if gone else float(value) for value, gone in zip(values, missing.tolist(), strict=True)]
    return Column("number", np.array(numbers, dtype=np.float64), missing), []


def _texts(name: str, values: Sequence[Any], missing: np.ndarray[Any, Any]) -> tuple[Column, list[str]]:
    texts = ["" if gone else str(value) for value, gone in zip(values, missing.tolist(), strict=True)]
    halves = [row for row, text in enumerate(texts) if not text.isascii() and _HALF.search(text)]
    said = []
    if halves:
        said = [f"{name}: {len(halves):,} texts have halves of letters (first row {halves[0]}), which are replaced by \ufffd"]
        texts = [_HALF.sub("\ufffd", text) for text in texts]
    return Column("text", texts, missing), said


def _vectors(values: Sequence[Any], missing: np.ndarray[Any, Any]) -> Column | None:
    lengths = {len(value) for value, gone in zip(values, missing.tolist(), strict=True) if not gone}
    if len(lengths) != 1 or lengths == {0}:
        return None
    vectors = np.zeros((len(values), lengths.pop()), dtype=np.float32)
    for row in np.flatnonzero(~missing).tolist():
        vectors[row] = [math.nan if value is None else value for value in values[row]]
    return Column("vector", vectors, missing)


def _type(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, bool | np.bool_):
        return "yes or no"
    if isinstance(value, int | np.integer):
        return "whole numbers"
    if isinstance(value, float | np.floating):
        return "numbers"
    if isinstance(value, str):
        return "text"
    if isinstance(value, np.ndarray):
        return "lists of numbers" if value.ndim == 1 and value.dtype.kind in "fiu" else "arrays"
    if isinstance(value, list | tuple):
        numbers = all(item is None or (isinstance(item, int | float) and not isinstance(item, bool)) for item in value)
        return "lists of numbers" if numbers and len(value) else "lists"
    return "records" if isinstance(value, Mapping) else f"values of the type {type(value).__name__}"


def kinds_in_words(columns: Mapping[str, Column]) -> str:
    """The columns by kind, for the user.

    >>> kinds_in_words({"a": Column("text", ["x"], np.array([False])), "b": Column("text", ["y"], np.array([False]))})
    'text: a, b'
    """
    words: dict[Kind, str] = {
        "number": "numbers",
        "bool": "yes or no",
        "text": "text",
        "class": "classes",
        "date": "dates",
        "vector": "vectors",
        "image": "images",
        "audio": "sound",
        "other": "not read",
    }
    of = {kind: [name for name, column in columns.items() if column.kind == kind] for kind in words}
    return "; ".join(f"{words[kind]}: {', '.join(names)}" for kind, names in of.items() if names)
