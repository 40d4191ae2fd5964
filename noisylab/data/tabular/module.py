"""Tables of numbers and categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.base import Source
from noisylab.data.frames.columns import Columns
from noisylab.data.frames.module import FrameData
from noisylab.data.notes import note
from noisylab.data.rows import DenseRows, RowStore
from noisylab.data.tabular.cells import Cells, TableRows
from noisylab.data.tabular.choice import Wishes, candidates, choose, leaks
from noisylab.data.tabular.encoding import Encoding
from noisylab.data.tabular.fields import CategoryField
from noisylab.transforms.views import feature_views, table_views

__all__ = ["Tabular"]

_DONORS = 1024
"""Training rows that the strong view takes columns from: as many draws of each marginal distribution."""


class Tabular(FrameData):
    """A table of numbers and categories, brought to numbers that a network can learn from.

    All that is learned of the columns is learned of the rows that are trained on; held-out and test rows have no part in it. A
    checkpoint holds it, and new tables are prepared by it, with their columns found by name.

    - A number gets zero mean and unit variance. One with heavy tails (values more than ten interquartile ranges from the median)
      is first brought to a normal distribution by its quantiles. Where it is missing it is the median, and a second input says
      so if it is missing in training rows. Infinite numbers are missing ones.
    - A category becomes one input for each value, of which one is 1. Rare values share one. A missing one is a value of its own.
      Values that no training row has count as rare ones; without rare ones all inputs are zero.
    - Vectors, such as embeddings, are scaled as those of `Arrays` are.

    Left out, which `Source.account` says: columns without any value, with the same value everywhere, that repeat another one,
    that number the rows, texts that differ in nearly every row, written language. Dates are refused. A column that says what the
    label is brings a warning.

    The strong view replaces columns by those of other rows, see `noisylab.transforms.views.table_views`.

    Args:
        table: see `FrameData`; so are `label`, `test_table`, `split`, `test_split`, `true_label`, `id_column`, `group` and
            `missing`.
        columns: to learn from; `None` for all but the label, the true label, the id and the group.
        categories: columns to take as categories, numbers that are codes among them; `None` takes text, classes and truth values.
        numbers: columns of text to take as numbers, whatever else is in some of their cells, which count as missing. Text that
            is all numbers, but for empty cells and such words as ``?`` and ``NA``, is taken as numbers anyway.
        drop: columns to leave out.
        min_frequency: training rows below which a value of a category is rare; `None` for 5, and for a fiftieth of the training
            rows where these are fewer than 250.
        max_categories: most inputs that a category becomes, at least 2; its most frequent values have their own, others are rare.
        **kwargs: see `FrameData`.

    Raises:
        FileNotFoundError: in ``setup``, without the table.
        ValueError: in ``setup``, naming the column at fault and what to do.

    Example:
        >>> from noisylab.data.frames import Column, Columns
        >>> none = np.zeros(4, dtype=bool)
        >>> age = Column("number", np.array([20.0, 30.0, 40.0, 50.0]), none)
        >>> city = Column("text", ["Bern", "Rome", "Bern", "Rome"], none)
        >>> label = Column("text", ["no", "no", "yes", "yes"], none)
        >>> data = Tabular.of(Columns("people", {"age": age, "city": city, "label": label}), categories=["city"])
        >>> data.setup()
        >>> data.num_features, data.source.train.values[0].tolist()  # doctest: +ELLIPSIS
        (3, [-1.34164..., 1.0, 0.0])
    """

    def __init__(
        self,
        table: str,
        columns: list[str] | None = None,
        categories: list[str] | None = None,
        numbers: list[str] | None = None,
        drop: list[str] | None = None,
        min_frequency: int | None = None,
        max_categories: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(table, **kwargs)
        if min_frequency is not None and min_frequency < 1:
            raise ValueError(f"min_frequency must be at least 1 row, got {min_frequency}")
        if max_categories < 2:
            raise ValueError(f"max_categories must be at least 2, got {max_categories}; to leave a column out, name it in drop")
        self.wishes = Wishes(columns, categories, numbers, drop)
        self.min_frequency, self.max_categories = min_frequency, max_categories
        self._encoding: Encoding | None = None
        self._said: list[str] = []
        self._donors: Tensor | None = None

    @property
    def encoding(self) -> Encoding:
        """What becomes of each column. Needs ``setup``."""
        if self._encoding is None:
            raise RuntimeError("Tabular.setup() has not run, so nothing is known of the columns yet; call it")
        return self._encoding

    @property
    def num_features(self) -> int:
        """D, numbers of a row. Needs ``setup``, as it depends on the values in the training rows."""
        return self.encoding.width

    def input_columns(self, table: Columns) -> list[str]:
        """The columns that are used; before ``setup``, those that may be."""
        if self._encoding is not None:
            return self._encoding.names
        taken = {self.label, self.true_label, self.id_column, self.group} - {None}
        return candidates(table, self.wishes, [name for name in taken if name is not None])[0]

    def rows_of(self, table: Columns) -> RowStore:
        """Rows whose columns become numbers in `fit_inputs`."""
        return TableRows(table)

    def prepared(self, table: Columns) -> RowStore:
        """See `FrameData.prepared`."""
        rows, said = self.encoding(Cells(table), table.where)
        for text in said:
            note(text)
        return DenseRows(rows)

    def load(self) -> Source:
        """Read the table; which of its columns are used is decided later, by the rows that are trained on."""
        table, _ = self.tables
        if self.adopted is not None:
            then = self.adopted["measured"]
            self._encoding, self._said = Encoding.of(then), list(then["said"])
        if self._encoding is None:
            self.input_columns(table)  # what cannot be used at all is refused before labels are read
        return super().load()

    def noise_inputs(self, source: Source) -> Tensor | None:
        """Rows prepared by what is learned of all of them, because noise is drawn before rows are held out."""
        assert isinstance(source.train, TableRows)
        cells = source.train.cells
        encoding, _ = self._fit(cells, source.given, np.arange(len(cells.table)))
        return encoding(cells, cells.table.where)[0]

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Learn what becomes of the columns, unless a model's record prescribes it, and prepare all rows."""
        assert isinstance(source.train, TableRows)
        cells, tested = source.train.cells, source.test
        if self._encoding is None:
            self._encoding, self._said = self._fit(cells, source.given, rows.numpy())
        train, odd = self._encoding(cells, cells.table.where)
        said = [*self._said, *odd]
        some = torch.linspace(0, len(rows) - 1, min(_DONORS, len(rows))).round().long()
        self._donors = train[rows[some]]
        if tested is source.train:  # a fold of the training rows
            source.train = source.test = DenseRows(train)
        else:
            source.train = DenseRows(train)
        if isinstance(tested, TableRows) and tested.cells is not cells:
            prepared, odd = self._encoding(tested.cells, f"{tested.cells.table.where}, test rows")
            source.test = DenseRows(prepared)
            said += odd
        for text in said:
            note(text)
        source.account += [*said, f"{cells.table.where}: {self._encoding.text()}"]

    def view_set(self) -> Mapping[str, Any]:
        """Views of rows of a table, known once the rows are prepared."""
        if self._donors is None:  # no rows to take columns from, and only "eval" is asked for
            return {name: view for name, view in feature_views().items() if name in ("weak", "eval")}
        return table_views(self._donors, self.encoding.groups)

    def measured(self) -> dict[str, Any]:
        """What was learned of each column, and what the user was told of it."""
        return {**self.encoding.state(), "said": self._said}

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._encoding = Encoding.of(self.adopted["measured"])
        return DenseRows(torch.empty(0, self._encoding.width))

    def _fit(self, cells: Cells, given: Tensor, rows: NDArray[np.int64]) -> tuple[Encoding, list[str]]:
        """What becomes of the columns, and what the user is told of it."""
        taken = [name for name in (self.label, self.true_label, self.id_column, self.group) if name is not None]
        names, said = candidates(cells.table, self.wishes, taken)
        choice = choose(cells, names, rows, self.wishes)
        least = min(5, max(len(rows) // 50, 1)) if self.min_frequency is None else self.min_frequency
        encoding = Encoding.fit(cells, choice, rows, least, self.max_categories)
        rare = {one.name for one in encoding.fields if isinstance(one, CategoryField) and not one.kept}
        choice.leave_out(sorted(rare), f"no value of which is in {least} training rows (min_frequency)")
        encoding = Encoding(tuple(one for one in encoding.fields if one.name not in rare))
        if not encoding.fields:
            raise ValueError(f"{cells.table.where} has no column to learn from: {'; '.join(choice.said)}")
        merged = [
            f"{one.name} ({len(one.rare):,} of {len(one.rare) + len(one.kept):,})"
            for one in encoding.fields
            if isinstance(one, CategoryField) and len(one.rare) > 1
        ]
        if merged:
            choice.said.append(f"rare values are taken together: {', '.join(merged)}")
        told = [*said, *choice.said]
        return encoding, [*leaks(cells, choice, given, rows), *(f"{cells.table.where}: {line}" for line in told)]
