"""Which columns of a table a network learns from, and which of them are categories."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.folders import listed
from noisylab.data.frames.columns import Columns
from noisylab.data.tabular.cells import Cells, Words

__all__ = ["Choice", "Wishes", "candidates", "choose", "leaks"]

_FEW_ROWS = 20  # up to which different texts in most rows may still be categories
_SENTENCE = 5.0  # words of a text, on average, from which it is written language
_SAMPLE = 2000  # different texts whose words are counted
_ID_NAMES = frozenset({"id", "index", "idx", "row", "row_id", "rowid", "uid", "uuid", "guid", "key", "no", "nr", ""})
_LOOKED = 1000  # rows that show whether a column has more values than there are classes
_FEWEST = 3  # rows a class from which that is looked at
_NEARLY = 0.98  # share of rows from which a column repeats the label but for some


@dataclass(frozen=True)
class Wishes:
    """What a user says about the columns; see `Tabular`.

    Args:
        columns: to use, `None` for all.
        categories: to take as categories, `None` for a guess.
        numbers: of text, to take as numbers.
        drop: to leave out.
    """

    columns: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    numbers: Sequence[str] | None = None
    drop: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse lists that contradict each other."""
        given = {"columns": self.columns, "categories": self.categories, "numbers": self.numbers, "drop": self.drop}
        for name, names in given.items():
            if isinstance(names, str) or (names is not None and not all(isinstance(one, str) for one in names)):
                raise TypeError(f"{name} must be a list of names of columns, got {names!r}; write {name}=['age', 'city']")
            if names is not None and len(set(names)) < len(names):
                raise ValueError(f"{name} names a column twice: {list(names)}; name each once")
        if self.columns is not None and not self.columns:
            raise ValueError("columns must name at least one column, got []; leave it out for all")
        for first, second in (("columns", "drop"), ("categories", "drop"), ("numbers", "drop"), ("categories", "numbers")):
            both = sorted(set(given[first] or ()) & set(given[second] or ()))
            if both:
                raise ValueError(f"{first} and {second} both name {listed(both)}; name a column in one of them")
        if self.columns is not None:
            other = sorted({*(self.categories or ()), *(self.numbers or ())} - set(self.columns))
            if other:
                raise ValueError(
                    f"columns does not name {listed(other)}, which categories or numbers do; add it, or leave it out there"
                )


@dataclass
class Choice:
    """What becomes of the columns.

    Args:
        numbers: names.
        categories: names.
        vectors: names.
        said: what was guessed and left out, for the user.
    """

    numbers: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def leave_out(self, names: Collection[str], why: str) -> None:
        """Leave columns out, and say why."""
        if not names:
            return
        for kept in (self.numbers, self.categories, self.vectors):
            kept[:] = [name for name in kept if name not in names]
        self.said.append(f"left out: {listed(list(names))}, {why}")


def candidates(table: Columns, wishes: Wishes, taken: Collection[str]) -> tuple[list[str], list[str]]:
    """The columns that may be used, by their kinds alone, and what a user is told of others.

    Args:
        table: any rows.
        wishes: of the user.
        taken: columns that are no inputs: labels, ids, groups.

    Raises:
        ValueError: for dates, and for named columns that are not there or hold something else.
    """
    wished = {"columns": wishes.columns, "categories": wishes.categories, "numbers": wishes.numbers, "drop": wishes.drop}
    for argument, named in wished.items():
        for name in named or ():
            table.named(name, argument)
            if argument != "drop" and name in taken:
                raise ValueError(f"{argument} names {name!r}, which is the label, the true label, the id or the group of a row")
    left = {*taken, *(wishes.drop or ())}
    names = [name for name in table.columns if name not in left] if wishes.columns is None else list(wishes.columns)
    dates = [name for name in names if table.columns[name].kind == "date" and name not in (wishes.categories or ())]
    if dates:
        flag = f"drop={dates!r} (--data.drop '[{', '.join(dates)}]')"
        raise ValueError(
            f"{table.where} has dates in {listed(dates)}, and nothing says what matters of them: the year, the month, the days "
            f"since an event? Add columns with such numbers to the table and leave the dates out with {flag}; or just leave them "
            "out"
        )
    other = [name for name in names if table.columns[name].kind in ("image", "audio", "other")]
    if other and wishes.columns is not None:
        name = other[0]
        raise ValueError(
            f"columns names {name!r}, which holds {table.columns[name].kind} values; tables are of numbers and categories. Use "
            "TableImages for images, Sound for recordings, or leave the column out"
        )
    said = [f"left out: {listed(other)}, which hold neither numbers nor words"] if other else []
    names = [name for name in names if name not in other]
    if not names:
        raise ValueError(
            f"{table.where} has no column to learn from: it has {', '.join(table.columns)}, all of them left out or taken"
        )
    return names, said


def choose(cells: Cells, names: Sequence[str], rows: NDArray[np.int64], wishes: Wishes) -> Choice:
    """What becomes of the columns, as the rows that are trained on say.

    Args:
        cells: of the table.
        names: of `candidates`.
        rows: (M,) that are trained on.
        wishes: of the user.

    Raises:
        ValueError: for a named column of free text, and where no column is left.
    """
    choice = _by_role(cells, names, rows, wishes)
    empty = [name for name in choice.numbers if np.isnan(cells.numbers(name).values[rows]).all()]
    empty += [name for name in choice.categories if not _present(cells.words(name), rows)]
    choice.leave_out(empty, "without any value in the training rows")
    same = [name for name in choice.numbers if _constant(cells.numbers(name).values[rows])]
    same += [name for name in choice.categories if int((cells.words(name).counts(rows) > 0).sum()) == 1]
    choice.leave_out(same, "which have one value in all training rows")
    _leave_out_texts(choice, cells, rows, wishes)
    if wishes.columns is None:
        counted = [name for name in choice.numbers if _counts_rows(name, cells.numbers(name).values[rows])]
        choice.leave_out(counted, "which number the rows; name them in columns to use them")
        for kind in (choice.numbers, choice.categories):
            twins = _repeated(cells, kind, rows, categories=kind is choice.categories)
            for name, first in twins.items():
                choice.leave_out([name], f"which says the same as {first}")
    if not (choice.numbers or choice.categories or choice.vectors):
        raise ValueError(f"{cells.table.where} has no column to learn from: {'; '.join(choice.said)}")
    return choice


def leaks(cells: Cells, choice: Choice, given: Tensor, rows: NDArray[np.int64]) -> list[str]:
    """Warnings about columns that say what the label is.

    Args:
        cells: of the table.
        choice: columns that are used.
        given: (N,) int64 labels as they stand in the table, -1 for none.
        rows: (M,) that are trained on.
    """
    labels = given.numpy()[rows]
    known = labels >= 0
    labels, said = labels[known], list[str]()
    classes = np.unique(labels)
    if len(labels) < _FEWEST * len(classes):  # of a few rows, any column may say what their labels are
        return []
    for name in (*choice.categories, *choice.numbers):
        values: NDArray[Any] = cells.words(name).codes if name in choice.categories else cells.numbers(name).values
        values = values[rows[known]]
        if len(np.unique(values[:_LOOKED])) > len(classes):  # as nearly all columns of numbers have
            continue
        different, codes = np.unique(values, return_inverse=True)
        if not 2 <= len(different) == len(classes):
            continue
        table = np.zeros((len(different), len(classes)), dtype=np.int64)
        np.add.at(table, (codes, np.searchsorted(classes, labels)), 1)
        if len(set(table.argmax(1).tolist())) < len(classes):
            continue
        share = float(table.max(1).sum() / len(labels))
        if share >= _NEARLY:
            which = (
                "says exactly what the label is" if share == 1 else f"agrees with the label in {share:.1%} of the training rows"
            )
            said.append(
                f"WARNING: the column {name} {which}: a model reads the label from it, learns nothing else, and finds no wrong "
                f"label. Unless you know better, leave it out with drop: [{name}]"
            )
    return said


def _by_role(cells: Cells, names: Sequence[str], rows: NDArray[np.int64], wishes: Wishes) -> Choice:
    choice, converted, guessed = Choice(), [], []
    for name in names:
        kind = cells.table.columns[name].kind
        if kind == "vector":
            choice.vectors.append(name)
        elif name in (wishes.categories or ()):
            choice.categories.append(name)
        elif kind == "number" or name in (wishes.numbers or ()):
            choice.numbers.append(name)
        elif kind == "text" and cells.is_numeric(name, rows):
            choice.numbers.append(name)
            converted.append(name)
        else:
            choice.categories.append(name)
            guessed.append(name)
    if converted:
        choice.said.append(f"text that is taken as numbers: {listed(converted)}; name it in categories if the numbers are codes")
    if guessed and wishes.categories is None:
        choice.said.append(
            f"taken as categories: {listed(guessed)}; numbers that are codes of categories are to be named in categories"
        )
    return choice


def _leave_out_texts(choice: Choice, cells: Cells, rows: NDArray[np.int64], wishes: Wishes) -> None:
    """Leave out free text, and names that belong to single rows; refuse them where they are asked for."""
    texts: list[str] = []
    names: list[str] = []
    for name in choice.categories:
        if cells.table.columns[name].kind != "text" or name in (wishes.categories or ()):
            continue
        words = cells.words(name)
        counts = words.counts(rows)
        counts = np.where(np.array([not one for one in words.names]), 0, counts)
        different, many = int((counts > 0).sum()), int(counts.sum())
        written = _length(words, counts) >= _SENTENCE
        mostly = different == many > 2 or (many > _FEW_ROWS and 2 * different > many)
        if mostly or (written and different > _FEW_ROWS):
            (texts if written else names).append(name)
    commas = [name for name in names if _decimal_commas(cells.words(name))]
    if wishes.columns is not None and (texts or names):
        name = [*texts, *names][0]
        raise ValueError(
            f"columns names {name!r}, whose texts in {cells.table.where} nearly all differ: written language, or names of single "
            f"rows. Learn from the text with --text {name} (class Text), take it as categories with categories=[{name!r}], or "
            "leave it out"
        )
    choice.leave_out(texts, f"written language: noisylab issues --dataset ... --text {texts[0] if texts else ''} learns from it")
    choice.leave_out(
        [name for name in names if name not in commas], "whose texts differ in nearly every row, as names and ids do"
    )
    choice.leave_out(commas, "whose numbers have commas: write 3.5 and 12000, not 3,5 and 12,000")


def _length(words: Words, counts: NDArray[np.int64]) -> float:
    """Words of a text, on average over some of the different ones."""
    there = np.flatnonzero(counts)
    some = there[np.linspace(0, len(there) - 1, min(len(there), _SAMPLE)).astype(np.int64)] if len(there) else there
    return float(np.mean([len(words.names[place].split()) for place in some.tolist()])) if len(some) else 0.0


def _decimal_commas(words: Words) -> bool:
    marks = [name for name in words.names if name]
    return bool(marks) and all(name.strip().lstrip("+-").replace(",", "").replace(".", "").isdecimal() for name in marks)


def _present(words: Words, rows: NDArray[np.int64]) -> bool:
    """Whether some row has a value."""
    counts = words.counts(rows)
    return any(many > 0 and name for name, many in zip(words.names, counts.tolist(), strict=True))


def _constant(values: NDArray[np.float64]) -> bool:
    """Whether all rows have one number; a number that some rows lack says something by that."""
    return not np.isnan(values).any() and bool((values == values[0]).all())


def _counts_rows(name: str, values: NDArray[np.float64]) -> bool:
    """Whether whole numbers number the rows: one after the other, or all different under such a name as ``id``."""
    if len(values) < 3 or np.isnan(values).any() or (values != np.rint(values)).any():
        return False
    ordered = np.sort(values)
    if (np.diff(ordered) == 0).any():
        return False
    plain = name.strip().lower()
    return (
        plain in _ID_NAMES
        or plain.startswith("unnamed:")
        or plain.endswith(("_id", " id"))
        or (len(values) > _FEW_ROWS and bool(np.ptp(values) == len(values) - 1))
    )


def _repeated(cells: Cells, names: Sequence[str], rows: NDArray[np.int64], categories: bool) -> dict[str, str]:
    """Columns that say the same as one before them: equal numbers, or categories that go together one to one."""
    first: dict[bytes, str] = {}
    found: dict[str, str] = {}
    for name in names:
        if categories:
            _, start, codes = np.unique(cells.words(name).codes[rows], return_index=True, return_inverse=True)
            content = np.argsort(np.argsort(start))[codes].astype(np.int64)  # numbered in the order of their first rows
        else:
            content = cells.numbers(name).values[rows].view(np.int64)
        digest = hashlib.sha256(content.tobytes()).digest()
        if digest in first:
            found[name] = first[digest]
        first.setdefault(digest, name)
    return found
