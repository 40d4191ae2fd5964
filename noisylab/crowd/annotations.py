"""Labels that several annotators gave to the same items, in sparse form."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

__all__ = ["Annotations", "Array"]

Array = np.ndarray[Any, Any]

_SHOWN = 10  # faults in a message
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")


@dataclass(frozen=True)
class Annotations:
    """Labels of N items by M annotators, one entry a label.

    Args:
        item: (L,) int64, the item of each label, sorted.
        annotator: (L,) int64, who gave it; -1 where nobody knows who gave which.
        label: (L,) int64, the class, in 0..K-1.
        items: N names; some may have no label.
        annotators: M names; empty where nobody knows who gave which label.
        class_names: K names.
        notes: what looked wrong when the labels were read, a sentence each.

    Example:
        >>> Annotations.of_matrix([[0, 0, 1], [1, -1, 1]]).counts().tolist()
        [[2.0, 1.0], [0.0, 2.0]]
    """

    item: Array
    annotator: Array
    label: Array
    items: tuple[str, ...]
    annotators: tuple[str, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of_matrix(cls, labels: Any, num_classes: int | None = None) -> Annotations:
        """The labels of a matrix.

        Args:
            labels: (N, M) classes, row by row those that the M annotators gave to an item; negative or NaN where there is none.
            num_classes: K; the largest class and one more if None.

        Raises:
            ValueError: for another shape, or a number that is no class.
        """
        matrix = np.asarray(labels, dtype=np.float64)
        if matrix.ndim != 2:
            raise ValueError(f"labels must have shape (items, annotators), got {matrix.shape}")
        there = ~np.isnan(matrix) & (matrix >= 0)
        item, annotator = np.nonzero(there)
        label = matrix[there]
        classes = int(label.max(initial=-1)) + 1 if num_classes is None else num_classes
        if (label != np.floor(label)).any() or (label >= classes).any():
            bad = label[(label != np.floor(label)) | (label >= classes)][0]
            raise ValueError(f"labels must be whole numbers in 0..{classes - 1}, negative or NaN for none, got {bad:g}")
        names = [tuple(map(str, range(size))) for size in (*matrix.shape, classes)]
        return cls(item.astype(np.int64), annotator.astype(np.int64), label.astype(np.int64), *names)

    @classmethod
    def of_counts(cls, counts: Any, items: Sequence[str] | None = None, class_names: Sequence[str] | None = None) -> Annotations:
        """Labels of which is known how many there are, not who gave them.

        Args:
            counts: (N, K) whole numbers, how often each item was given each class.
            items: N names; their numbers if None.
            class_names: K names; their numbers if None.

        Raises:
            ValueError: for another shape, or a number that is no count.
        """
        matrix = np.asarray(counts, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] < 2:
            raise ValueError(f"counts must have shape (items, classes) with two classes or more, got {matrix.shape}")
        bad = np.argwhere(~((matrix >= 0) & (matrix == np.floor(matrix)) & np.isfinite(matrix)))
        if len(bad):
            row, column = bad[0].tolist()
            raise ValueError(
                f"counts must be whole numbers, 0 or more, got {matrix[row, column]:g} in row {row}, column {column}"
            )
        item, label = np.nonzero(matrix)
        times = matrix[item, label].astype(np.int64)
        item, label = np.repeat(item, times).astype(np.int64), np.repeat(label, times).astype(np.int64)
        names = tuple(map(str, range(len(matrix)))) if items is None else tuple(items)
        classes = tuple(map(str, range(matrix.shape[1]))) if class_names is None else tuple(class_names)
        return cls(item, np.full(len(item), -1, dtype=np.int64), label, names, (), classes)

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.items)

    @property
    def num_annotators(self) -> int:
        """M; 0 where nobody knows who gave which label."""
        return len(self.annotators)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def counts(self) -> Array:
        """(N, K) float64: how often each item was given each class."""
        flat = np.bincount(self.item * self.num_classes + self.label, minlength=self.num_items * self.num_classes)
        return flat.reshape(self.num_items, self.num_classes).astype(np.float64)

    def per_item(self) -> Array:
        """(N,) int64: labels of each item."""
        return np.bincount(self.item, minlength=self.num_items)

    def per_annotator(self) -> Array:
        """(M,) int64: labels of each annotator."""
        return np.bincount(self.annotator[self.annotator >= 0], minlength=self.num_annotators)

    def anonymous(self) -> Annotations:
        """The same labels without who gave them: for columns that are the first, second, ... label of an item, not persons."""
        return replace(self, annotator=np.full(len(self.item), -1, dtype=np.int64), annotators=())

    def labeled(self) -> tuple[Annotations, Array]:
        """The items that have a label, and their (R,) numbers among all."""
        rows = np.flatnonzero(self.per_item() > 0)
        place = np.full(self.num_items, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        kept = tuple(self.items[row] for row in rows)
        return replace(self, item=place[self.item], items=kept), rows

    def with_classes(self, class_names: Sequence[str], where: str = "the annotations") -> Annotations:
        """The labels numbered as other data number their classes: by name.

        Where all labels are whole numbers and no class is called by one, the numbers are places among the classes, 0 the first.

        Args:
            class_names: K names of these data.
            where: the labels' name in messages.

        Raises:
            ValueError: naming the labels that are no class.
        """
        place = {name: number for number, name in enumerate(class_names)}
        used = [self.class_names[k] for k in np.unique(self.label).tolist()]
        numbered = all(_WHOLE.fullmatch(name) for name in used) and not any(_WHOLE.fullmatch(name) for name in class_names)
        if numbered:
            place = {str(number): number for number in range(len(class_names))}
        unknown = [name for name in used if name not in place]
        if unknown:
            near = difflib.get_close_matches(unknown[0], place, n=1)
            raise ValueError(
                f"{where}: {len(unknown)} of the names used as labels are no class of the data: "
                f"{_listed(list(map(repr, unknown)))}"
                f"{f' (nearest: {near[0]!r})' if near else ''}; the classes are {_listed(list(place))}. "
                "Correct the labels, or name the classes as the data does"
            )
        numbers = np.array([place.get(name, -1) for name in self.class_names], dtype=np.int64)
        return replace(self, label=numbers[self.label], class_names=tuple(class_names))

    def for_rows(
        self,
        count: int,
        names: Sequence[str] | None = None,
        missing: Literal["refuse", "unlabeled"] = "refuse",
        unknown_items: Literal["refuse", "ignore"] = "refuse",
        where: str = "the annotations",
    ) -> Annotations:
        """The labels of the rows of a data set: its items are the rows, in their order.

        Items are the names of the rows where these have names, else the numbers of the rows, from 0. Where no item is a name and
        all are such numbers, they are taken for numbers, which is noted.

        Args:
            count: N, rows of the data.
            names: their N names, files for example.
            missing: whether a row may have no label at all.
            unknown_items: whether items that are no row, test images for example, are left out.
            where: the labels' name in messages.

        Raises:
            ValueError: naming up to ten items that are no row, rows named twice, or rows without a label.
        """
        numbers = {str(row): row for row in range(count)}
        notes = list(self.notes)
        place = numbers
        if names is not None:
            place = {_plain_path(name): row for row, name in enumerate(names)}
            found = sum(_plain_path(name) in place for name in self.items)
            if not found and self.items and all(name in numbers for name in self.items):
                place = numbers
                notes.append(f"{where}: items are taken for the numbers of the rows, from 0, since none is the name of a row")
        row_of = np.array([place.get(name if place is numbers else _plain_path(name), -1) for name in self.items], dtype=np.int64)
        unknown = [self.items[item] for item in np.flatnonzero(row_of < 0).tolist()]
        what = "numbers of the rows, from 0" if place is numbers else "names of the rows"
        if unknown and unknown_items == "refuse":
            near = difflib.get_close_matches(unknown[0], list(place)[:100_000], n=1) if place is not numbers else []
            raise ValueError(
                f"{where}: {len(unknown)} of {len(self.items)} items are not among the {count} rows of the training data: "
                f"{_listed(unknown)}{f' (nearest: {near[0]!r})' if near else ''}; items must be {what}. "
                "Correct them, or leave them out: unknown_items: ignore"
            )
        if unknown:
            notes.append(f"{where}: {len(unknown)} items that are no row of the training data are left out")
        taken = row_of[row_of >= 0]
        if len(np.unique(taken)) < len(taken):
            rows, times = np.unique(taken, return_counts=True)
            twice = [self.items[item] for item in np.flatnonzero(row_of == rows[times > 1][0]).tolist()]
            raise ValueError(f"{where}: the items {_listed(twice)} are one row of the data; write each item in one way")
        kept = row_of[self.item] >= 0
        item, annotator, label = row_of[self.item][kept], self.annotator[kept], self.label[kept]
        order = np.argsort(item, kind="stable")
        rows_named = tuple(map(str, range(count))) if names is None else tuple(names)
        result = replace(
            self, item=item[order], annotator=annotator[order], label=label[order], items=rows_named, notes=tuple(notes)
        )
        without = np.flatnonzero(result.per_item() == 0)
        if len(without) == count:
            raise ValueError(f"{where}: no row of the training data has a label")
        if len(without) and missing == "refuse":
            shown = _listed([rows_named[row] for row in without[: _SHOWN + 1].tolist()])
            raise ValueError(
                f"{where}: {len(without)} of the {count} rows of the training data have no label, {shown} among them; add their "
                "labels, or take these rows for unlabeled ones: missing: unlabeled"
            )
        if len(without):
            notes.append(f"{where}: {len(without)} of the {count} rows have no label and are unlabeled")
            result = replace(result, notes=tuple(notes))
        return result


def _plain_path(name: str) -> str:
    """A file name as tables and disks may both write it, also the same letters in two forms."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
