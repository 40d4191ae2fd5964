"""The cells of a table's columns, read as numbers or as words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.frames.columns import Column, Columns
from noisylab.data.missing import DOUBTFUL, MISSING

__all__ = ["Cells", "Numbers", "TableRows", "Words", "number_of", "stands_for_nothing"]

_NOTHING = DOUBTFUL | {word.lower() for word in MISSING}


@dataclass(frozen=True)
class Numbers:
    """A column as numbers.

    Args:
        values: (N,) float64, NaN where there is none.
        infinite: how many were infinite, which are NaN now.
        unread: texts that are no number, NaN now, and how often each occurs.
    """

    values: NDArray[np.float64]
    infinite: int
    unread: dict[str, int]


@dataclass(frozen=True)
class Words:
    """A column as words.

    Args:
        names: the different ones, sorted; "" stands for what is missing.
        codes: (N,) int64 places in `names`.
    """

    names: list[str]
    codes: NDArray[np.int64]

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often each of `names` occurs in some rows."""
        return np.bincount(self.codes[rows], minlength=len(self.names)).astype(np.int64)


class Cells:
    """The columns of a table as numbers and words, each worked out once.

    Args:
        table: of N rows.
    """

    def __init__(self, table: Columns) -> None:
        self.table = table
        self._numbers: dict[str, Numbers] = {}
        self._words: dict[str, Words] = {}

    def numbers(self, name: str) -> Numbers:
        """A column of numbers, truth values or text as numbers."""
        if name not in self._numbers:
            column = self.table.columns[name]
            self._numbers[name] = _text_numbers(self.words(name)) if column.kind in ("text", "class") else _plain_numbers(column)
        return self._numbers[name]

    def words(self, name: str) -> Words:
        """Any column of single values as words; whole numbers have no point."""
        if name not in self._words:
            self._words[name] = _words(self.table.columns[name])
        return self._words[name]

    def is_numeric(self, name: str, rows: NDArray[np.int64]) -> bool:
        """Whether a column of text holds numbers in some rows, and else only words that stand for nothing, such as ``?``."""
        words = self.words(name)
        there = [words.names[place] for place in np.flatnonzero(words.counts(rows))]
        parsed = [text for text in there if number_of(text) is not None]
        return bool(parsed) and all(stands_for_nothing(text) for text in set(there) - set(parsed))


class TableRows:
    """Rows of a table before it is known what becomes of their columns: `TensorStore` in name, as nothing is gathered yet.

    Args:
        table: of N rows.
    """

    def __init__(self, table: Columns) -> None:
        self.cells = Cells(table)

    def __len__(self) -> int:
        return len(self.cells.table)

    @property
    def nbytes(self) -> int:
        """Nothing that would go to a device."""
        return 0

    @property
    def row_size(self) -> int:
        """Columns of the table."""
        return len(self.cells.table.columns)

    def settle(self, device: torch.device) -> None:
        """Stay: only what is made of the rows moves."""

    def gather(self, index: Tensor) -> Tensor:
        """Refuse, as the rows are not numbers yet."""
        raise RuntimeError("the columns of a table become numbers in fit_inputs, when the rows to train on are known")


def number_of(text: str) -> float | None:
    """The number that a text is, infinity among them; `None` for another text.

    >>> number_of(" 1e3"), number_of("1_000"), number_of("nan"), number_of("3,5")
    (1000.0, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return None if "_" in text or math.isnan(value) else value


def stands_for_nothing(text: str) -> bool:
    """Whether a text among numbers means that there is none: empty, ``?``, ``NA`` ..."""
    return not text.strip() or text.strip().lower() in _NOTHING


def _plain_numbers(column: Column) -> Numbers:
    values = np.asarray(column.values).astype(np.float64)
    values = np.where(column.missing, np.nan, values)
    infinite = np.isinf(values)
    return Numbers(np.where(infinite, np.nan, values), int(infinite.sum()), {})


def _text_numbers(words: Words) -> Numbers:
    each, counts = [number_of(text) for text in words.names], np.bincount(words.codes, minlength=len(words.names))
    table = np.array([math.nan if value is None else value for value in each], dtype=np.float64)
    infinite = np.isinf(table)
    unread = {
        text: int(many)
        for text, value, many in zip(words.names, each, counts, strict=True)
        if value is None and not stands_for_nothing(text)
    }
    return Numbers(np.where(infinite, np.nan, table)[words.codes], int(counts[infinite].sum()), unread)


def _words(column: Column) -> Words:
    if column.kind == "class":
        assert column.names is not None
        codes = np.where(column.missing, len(column.names), np.asarray(column.values))
        return _sorted((*column.names, ""), codes)
    if column.kind in ("number", "bool"):
        values = np.asarray(column.values)
        different, codes = np.unique(values, return_inverse=True)
        names = [_written(value) for value in different.tolist()]
        return _sorted([*names, ""], np.where(column.missing, len(names), codes))
    places: dict[str, int] = {}
    texts = column.texts()
    codes = np.fromiter((places.setdefault(text, len(places)) for text in texts), dtype=np.int64, count=len(texts))
    return _sorted(list(places), codes)


def _written(value: float | bool) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else str(value)


def _sorted(names: Iterable[str], codes: NDArray[np.int64]) -> Words:
    """Words by sorted names, each of them once, without those that no row has."""
    given = list(names)
    used = np.bincount(codes, minlength=len(given)) > 0
    different = sorted({name for name, there in zip(given, used, strict=True) if there})
    place = {name: number for number, name in enumerate(different)}
    renumbered = np.array([place.get(name, -1) for name in given], dtype=np.int64)
    return Words(different, renumbered[codes])
