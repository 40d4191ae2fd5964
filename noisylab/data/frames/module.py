"""The parent of the data sets that are made of the columns of a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import digest_of
from noisylab.data.folders import listed
from noisylab.data.frames.columns import Column, Columns, Kind
from noisylab.data.frames.reading import read_tables, splits_of
from noisylab.data.labels import Array, LabelNames, read_labels
from noisylab.data.missing import Missing, Unlabeled, doubtful
from noisylab.data.notes import note
from noisylab.data.rows import RowStore

__all__ = ["FrameData"]

_HOLDS: dict[Kind, str] = {
    "date": "holds dates",
    "vector": "holds lists of numbers",
    "image": "holds images",
    "audio": "holds sound",
    "other": "holds lists, records, or values of several types",
}


class FrameData(NoisyDataModule, ABC):
    """What data sets made of a table share: its labels, its row ids and its splits. Subclasses make inputs of the other columns.

    Args:
        table: a file or folder that `noisylab.data.frames.reading.read_tables` reads; `of` takes a table in memory instead.
        label: the column of the labels.
        test_table: another one, with the test rows; `None` takes the test split of `table`, if it has one.
        split: of `table`, to train on; `None` for "train", or the only one.
        test_split: to test on; `None` for "test" or, without one, that for validation, which is said.
        true_label: the column of true labels, empty where unknown. Only reports see them, and `noise` cannot be added.
        id_column: whose texts are the names of the rows; `None` for what the table itself has (the index of a data frame), else
            rows are known by their numbers from 0.
        group: the column of the speaker or patient of each row, for ``val_by="group"``.
        missing: labels that stand for no label, see `noisylab.data.missing.Missing`.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, without the table.
        ValueError: in ``setup``, naming the column and the first row at fault.
    """

    row_names: ClassVar[str] = "id"
    shown_as: ClassVar[Literal["cells", "text", "image", "sound"]] = "cells"
    """How people look at a row: as the cells of the table, or as what is in the column of its inputs."""
    path_arguments: ClassVar[tuple[str, ...]] = ("table", "test_table")

    def __init__(
        self,
        table: str,
        label: str = "label",
        test_table: str | None = None,
        split: str | None = None,
        test_split: str | None = None,
        true_label: str | None = None,
        id_column: str | None = None,
        group: str | None = None,
        missing: Missing = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table, self.test_table, self.split_name, self.test_split = table, test_table, split, test_split
        self.label, self.true_label, self.id_column, self.group, self.missing = label, true_label, id_column, group, missing
        self._in_memory: tuple[Columns, Columns | None] | None = None

    @classmethod
    def of(cls, train: Columns, test: Columns | None = None, **kwargs: Any) -> Self:
        """The data set of tables in memory.

        Args:
            train: rows to train on.
            test: rows to test on.
            **kwargs: arguments of the class but `table` and `test_table`.
        """
        made = cls(table=train.where, **kwargs)
        made._in_memory = train, test
        return made

    # ---- what a subclass says

    @abstractmethod
    def input_columns(self, table: Columns) -> list[str]:
        """Names of the columns that inputs are made of.

        Raises:
            ValueError: naming a column that is not there, or cannot be used.
        """

    @abstractmethod
    def rows_of(self, table: Columns) -> RowStore:
        """Inputs of the rows of a table, training, test or other ones, before anything is measured on them by `fit_inputs`."""

    def prepared(self, table: Columns) -> RowStore:
        """Inputs of the rows of another table, as a model that was trained on these data takes them; nothing else of that table
        is looked at, neither labels nor ids. Needs ``setup`` or ``setup_blank``.

        Raises:
            ValueError: naming a column that is not there, or cannot be used.
        """
        return self.rows_of(table)

    # ---- what follows from it

    @property
    def source_classes(self) -> int:
        """The number of classes, counted in the column of labels."""
        return len(self._classes.names)

    @cached_property
    def tables(self) -> tuple[Columns, Columns | None]:
        """The table of the training rows and that of the test rows, as read."""
        return self.read()

    def read(self) -> tuple[Columns, Columns | None]:
        """Read the tables. Called once, by `tables`."""
        if self._in_memory is not None:
            return self._in_memory
        return splits_of(read_tables(self.table), self.test_table, self.split_name, self.test_split, self.label)

    @cached_property
    def _given(self) -> tuple[Array, Unlabeled]:
        return self._labels_of(self.tables[0])

    @cached_property
    def _classes(self) -> LabelNames:
        labels, gone = self._given
        column, where = self._label_column(self.tables[0])
        there = labels[~gone.mask]
        if column.names is not None:
            return LabelNames.of(there, np.array([name for name in column.names if name in set(there.tolist())]), where)
        if len(there) > 2 and len(set(there.tolist())) == len(there):
            raise ValueError(
                f"all {len(there):,} labels of {where} are different, so every class has one row; name the column that holds the "
                "classes"
            )
        return LabelNames.of(there, None, where)

    def _labels_of(self, table: Columns) -> tuple[Array, Unlabeled]:
        """The labels of a table, those of a column of classes by their names, and which rows have none."""
        column, where = self._label_column(table)
        missing, names = self.missing, column.names
        if names is not None:  # a word among the names is a class, whatever it means elsewhere
            listed = [str(word) for word in missing] if isinstance(missing, list) else []
            missing, names = ["", *listed], tuple(name for name in names if name not in listed)
        return read_labels(written(column), where, missing, None if names is None else np.array(names, dtype=np.str_))

    def _label_column(self, table: Columns) -> tuple[Column, str]:
        column = table.named(self.label, "label")
        where = f"the column {self.label} of {table.where}"
        if column.missing.all():
            raise ValueError(f"{where} has no label in any of {len(column):,} rows; name another column, or another split")
        if column.kind not in ("number", "bool", "text", "class"):
            raise ValueError(f"{where} {_HOLDS[column.kind]}; labels are whole numbers, text or classes. Name another column")
        return column, where

    def load(self) -> Source:
        """Read the tables, the labels and the inputs."""
        train, test = self.tables
        column, where = self._label_column(train)
        classes, (labels, gone) = self._classes, self._given
        said = gone.told(where)
        if column.kind != "class" and self.missing in ("auto", "all"):
            said += doubtful(classes.names, where)
        unused = [name for name in column.names or () if name not in classes.names]
        if unused:
            said.append(f"{where}: no row that is trained on has the class {listed(unused)}, so there is none")
        source = Source(
            train=self.rows_of(train),
            given=classes.numbers(labels, where, skip=gone.mask),
            class_names=classes.names,
            names=self._ids(train),
            unlabeled=True,
        )
        if self.true_label is not None:
            known = train.named(self.true_label, "true_label")
            source.clean = classes.numbers(written(known), f"the column {self.true_label} of {train.where}", unknown=True)
        if self.group is not None:
            _, numbers = np.unique(train.named(self.group, "group").texts(), return_inverse=True)
            source.group = torch.from_numpy(numbers.astype(np.int64))
        if test is not None:
            (_, place), (found, none) = self._label_column(test), self._labels_of(test)
            source.test, source.test_names = self.rows_of(test), self._ids(test)
            source.test_target = classes.numbers(found, place, skip=none.mask)
            said += none.told(place)
        for text in said:
            note(text)
        source.account += [*train.account, *([] if test is None else test.account), *said]
        return source

    def ids_of(self, table: Columns) -> list[str] | None:
        """Names of the rows of another table: those of `id_column` where it has that, else its own, if any."""
        named = self.id_column is not None and self.id_column in table
        ids = table.columns[self.id_column].texts() if named and self.id_column is not None else table.ids
        return None if ids is None else list(ids)

    def _ids(self, table: Columns) -> list[str] | None:
        ids = table.ids if self.id_column is None else table.named(self.id_column, "id_column").texts()
        if ids is None:
            return None
        twice = [(name, many) for name, many in Counter(ids).most_common(1) if many > 1]
        if twice:
            name, many = twice[0]
            raise ValueError(
                f"{table.where} has the row id {name!r} {many} times, so corrections could not find back. Name another "
                "id_column, or make the ids different"
            )
        return list(ids)

    def digests(self) -> tuple[str, str | None]:
        """Digests of the columns that inputs are made of, as they were read."""
        train, test = self.tables
        first = digest_of([train.digest(self.input_columns(train)).encode()])
        return first, None if test is None or self.folds else digest_of([test.digest(self.input_columns(test)).encode()])


def written(column: Column) -> Array:
    """(N,) labels of a column as whole numbers, or as text where they are text, classes or cells; NaN or empty for none."""
    if column.kind in ("text", "class") or column.written is not None:
        return np.array(column.texts(), dtype=np.str_)
    values = np.asarray(column.values)
    if column.kind == "bool":
        return np.array(column.texts(), dtype=np.str_) if column.missing.any() else values
    return np.where(column.missing, np.nan, values.astype(np.float64)) if column.missing.any() else values
