"""Turns labels as people write them, any numbers or text, into classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from noisylab.data.missing import MISSING, Missing, Unlabeled, unlabeled
from noisylab.data.notes import in_lines, note

__all__ = ["Array", "LabelNames", "check_label_table", "in_order", "one_row", "read_labels", "row_name", "twins"]

Array: TypeAlias = np.ndarray[Any, Any]

_SHOWN = 5  # class names in a message

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_WRITTEN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
_GAP = re.compile(r"(?<=\w)[\s_\u2010-\u2015-]+(?=\w)")  # between words: "t-shirt", "t_shirt"
# letters of other alphabets that look like Latin ones
_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u03bf\u2019\u2018\u0060\u00b4", "aeopcxyijso" + "'" * 4
)


@dataclass(frozen=True)
class LabelNames:
    """The classes of a data set: labels as written, and a name for each.

    Args:
        values: (K,) labels as written, of class 0, 1, ...
        names: K names.
    """

    values: Array
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: Array, class_names: Array | None, what: str) -> LabelNames:
        """The different labels, text as `in_order` has it and numbers sorted, or what `class_names` says; warns of `twins`.

        Args:
            labels: (N,) whole numbers or text.
            class_names: (K,) text; labels that are numbers then are 0..K-1.
            what: the labels' name in messages.

        Raises:
            ValueError: if there are fewer than two classes, two of one name, or a label without text.
        """
        labels = one_row(labels, what)
        empty = [row for row, label in enumerate(labels.tolist()) if label == ""]
        if empty:
            raise ValueError(
                f"{what} has {len(empty)} labels without text, the first in row {empty[0]}; name them or drop the rows"
            )
        if class_names is None:
            values = np.array(in_order(labels.tolist())) if labels.dtype.kind == "U" else np.unique(labels)
            names = tuple(str(value) for value in values.tolist())
        else:
            names = tuple(str(name) for name in class_names.reshape(-1).tolist())
            values = np.array(names) if labels.dtype.kind == "U" else np.arange(len(names))
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(
                f"{what} has {len(set(names))} different classes in {len(names)} names ({', '.join(names[:_SHOWN])}); at least "
                "two are needed, each with a name of its own. Check the labels and the class names"
            )
        for group in twins(names):
            note(
                f"{what}: the classes {', '.join(map(repr, group))} are probably the same; they are kept apart. If they "
                "are the same, write all of their labels the same way"
            )
        return cls(values, names)

    def numbers(
        self,
        labels: Array,
        what: str,
        *,
        unknown: bool = False,
        files: Sequence[str] | None = None,
        skip: Array | None = None,
    ) -> Tensor:
        """(N,) int64 class of each label.

        Args:
            labels: (N,) labels as written.
            what: their name in messages.
            unknown: whether a label may be missing (a negative number, NaN, empty text or a word of `MISSING`), which gives -1.
            files: (N) files that the labels belong to, for messages; `None` counts rows from 0.
            skip: (N,) True for rows that have no label, which get -1.

        Raises:
            ValueError: naming the first row whose label is no class.
        """
        labels = one_row(_whole(labels, what)[0] if unknown else labels, what)
        known = f"{', '.join(self.names[:_SHOWN])}{', ...' if len(self.names) > _SHOWN else ''}"
        if (labels.dtype.kind == "U") != (self.values.dtype.kind == "U"):
            kinds = ("numbers", "text") if self.values.dtype.kind == "U" else ("text", "numbers")
            raise ValueError(f"{what} holds {kinds[0]}, but the classes are {kinds[1]} ({known}); write all labels the same way")
        order = np.argsort(self.values)
        place = order[np.searchsorted(self.values, labels, sorter=order).clip(max=len(order) - 1)]
        found = self.values[place] == labels
        missing = np.isin(labels, ["", *MISSING]) if labels.dtype.kind == "U" else labels < 0
        without = np.zeros(len(labels), dtype=bool) if skip is None else skip
        found = found & ~without
        wrong = np.flatnonzero(~found & ~without & ~(missing & unknown))
        if len(wrong):
            raise ValueError(
                f"{len(wrong)} of {len(labels)} labels of {what} are not in the {len(self.names)} classes ({known}); the first "
                f"is {labels[wrong[0]].item()!r} {f'of {files[wrong[0]]}' if files else f'in row {wrong[0]}'}. Correct it, or "
                "give every class a training row"
            )
        return torch.from_numpy(np.where(found, place, -1).astype(np.int64))


def read_labels(labels: Array, what: str, missing: Missing = "auto", class_names: Array | None = None) -> tuple[Array, Unlabeled]:
    """Labels of an array, and which rows have none.

    Numbers that are whole may be floating-point, with NaN for no label. With `class_names`, labels that are numbers are places
    among these, and -1 stands for no label.

    Args:
        labels: (N,) numbers or text.
        what: their name in messages.
        missing: which labels are none.
        class_names: (K,) text, or `None`.

    Returns:
        (N,) whole numbers or text, of any value where there is no label; and where that is.

    Raises:
        ValueError: for other arrays, and see `unlabeled`.
    """
    labels, nan = _whole(labels, what)
    labels = one_row(labels, what)
    words = ["nan" if out else str(label) for out, label in zip(nan.tolist(), labels.tolist(), strict=True)]
    if nan.any() and missing == "none":
        raise ValueError(
            f"{what} has {int(nan.sum())} labels that are nan, the first in row {int(nan.argmax())}; nan is not a class"
        )
    numbers = labels.dtype.kind in "iu"
    if class_names is not None and numbers and missing in ("auto", "all"):
        missing = ["nan", "-1"]
    elif nan.any() and isinstance(missing, list):
        missing = ["nan", *missing]
    names = () if class_names is None else class_names.reshape(-1).tolist()
    found = unlabeled(words, missing, what, names)
    if found.mask.all():
        raise ValueError(f"{what} has no label; {found.words.total()} of {len(labels)} rows are without one")
    return labels, found


def _whole(labels: Array, what: str) -> tuple[Array, Array]:
    """Floating-point labels as whole numbers, -1 where they are NaN, and where that is; others as they are."""
    if labels.dtype.kind != "f" or labels.ndim != 1:
        return labels, np.zeros(labels.shape[:1], dtype=bool)
    nan = np.isnan(labels)
    broken = np.flatnonzero(~nan & (labels != np.floor(labels)) | np.isinf(labels) | (np.abs(labels) > 2**53))
    if len(broken):
        row = int(broken[0])
        raise ValueError(
            f"{what} has the label {labels[row].item()} in row {row}, which is not a whole number ({len(broken)} such labels); "
            "number the classes, or name them as text"
        )
    return np.where(nan, -1, labels).astype(np.int64), nan


def in_order(names: Iterable[str]) -> list[str]:
    """The distinct names, in the order in which classes are numbered.

    Names that are all numbers (``0`` ... ``11``) are in the order of these numbers, others in that of their characters. This is
    the one rule for class folders, tables and arrays of text.

    >>> in_order(["10", "2", "1"]), in_order(["b10", "b2", "B"])
    (['1', '2', '10'], ['B', 'b10', 'b2'])
    """
    different = set(names)
    if all(_NUMBER.fullmatch(name) for name in different):
        return sorted(different, key=lambda name: (float(name), name))
    return sorted(different)


def twins(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that probably mean the same class, each group sorted.

    Such names differ in nothing but upper and lower case (except for single letters, which are classes of their own in sets of
    letters), blanks, hyphens and underscores between words, blanks at the ends, characters that are not seen, the Unicode form,
    letters of another alphabet that look the same, or how a number is written.

    Args:
        names: of classes, those of folders or of a table for example.

    Returns:
        Groups of two or more, in the order of their first names; empty where all names are clearly different.

    >>> twins(["shoes", "Shoes", "1.0", "1", "hat"])
    [('1', '1.0'), ('Shoes', 'shoes')]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(_seen(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _seen(name: str) -> str:
    """What is left of a name once all that is easily overlooked is taken away."""
    text = unicodedata.normalize("NFKC", name)
    text = "".join(
        " " if char.isspace() else char for char in text if unicodedata.category(char) not in ("Cf", "Cc") or char.isspace()
    )
    text = text.strip()
    if _WRITTEN_NUMBER.fullmatch(text):
        return str(Fraction(text))  # exact, also for the long numbers of catalogs
    if len(text) > 1:
        text = text.casefold().translate(_ALIKE)
    return _GAP.sub(" ", text)


def one_row(labels: Array, what: str) -> Array:
    """The labels, if they are one row of whole numbers or text.

    Raises:
        ValueError: if they are not.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        raise ValueError(
            f"{what} must be one row of whole numbers or text, got {labels.dtype} of shape {labels.shape}; "
            "save one label per sample, as int64 or str"
        )
    return labels


def row_name(row: int | str) -> str:
    """What messages call a row of a table, which has a number, or of an export, which has a name of its own.

    >>> row_name(7), row_name("task 17")
    ('row 7', 'task 17')
    """
    return row if isinstance(row, str) else f"row {row}"


def check_label_table(
    labels: Sequence[str],
    names: Sequence[str],
    where: str,
    rows: Sequence[int | str] | None = None,
    known: Sequence[str] | None = None,
) -> None:
    """Refuse labels in which wrong ones cannot be found, or which look like another column of the table.

    Args:
        labels: (N,) labels as written.
        names: (N,) what each belongs to, a file for example.
        where: the table's name in messages.
        rows: (N,) number of each row in its table, or what it is called; `None` for labels that come from no table.
        known: classes that there are besides, the class folders of the images for example; `None` for nothing known.

    Raises:
        ValueError: a label has no text; there is only one class; all labels differ; a label is none of `known`, or one of `known`
            is no label; or a class has a single sample. It names up to ten rows or classes.
    """
    count = Counter(labels)
    if count[""]:
        first = next(place for place, label in enumerate(labels) if label == "")
        raise ValueError(
            f"{where} has {count['']} labels without text, the first of {names[first]}; name them, or take the rows for "
            "unlabeled ones: --data.missing auto"
        )
    if len(count) < 2:
        found = f"only one class, {next(iter(count))}" if count else "no row"
        raise ValueError(f"{where} has {found}; at least two classes are needed. Check that the label column is the right one")
    lines = [
        f"{row_name(rows[place])}: {name} is {label}" if rows is not None else f"{name} is {label}"
        for place, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    if len(count) == len(labels):
        raise ValueError(
            f"all {len(labels)} labels of {where} are different, so every class has one sample; is the label column the "
            f"right one?{in_lines(lines)}\nName the column that holds the classes with label_column"
        )
    if known is not None:
        folders = f"{', '.join(sorted(known)[:_SHOWN])}{', ...' if len(known) > _SHOWN else ''}"
        there = frozenset(known)
        bad = [line for line, label in zip(lines, labels, strict=True) if label not in there]
        if bad:
            raise ValueError(
                f"{len(bad)} of {len(labels)} labels of {where} are not among the {len(known)} classes that the image folders "
                f"have ({folders}):{in_lines(bad)}\nCorrect these labels or rename the folders"
            )
        unused = sorted(there - set(count))
        if unused:
            raise ValueError(
                f"{len(unused)} of the classes that have image folders are not labels of {where}:{in_lines(unused)}\n"
                "Add their images to the table, or move these folders elsewhere"
            )
    single = [line for line, label in zip(lines, labels, strict=True) if count[label] == 1]
    if single:
        raise ValueError(
            f"{len(single)} of {len(count)} classes of {where} have a single sample, whose label cannot be compared with any "
            f"other:{in_lines(single)}\nAdd samples to these classes, correct their names, or remove the rows"
        )
