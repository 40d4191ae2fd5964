"""Rows of a table as the numbers that a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.frames.columns import Columns
from noisylab.data.tabular.cells import Cells
from noisylab.data.tabular.choice import Choice
from noisylab.data.tabular.fields import CategoryField, Field, NumberField, VectorField, field_of

__all__ = ["Encoding"]


@dataclass(frozen=True)
class Encoding:
    """What is made of each column, in this order: numbers, categories, vectors.

    Args:
        fields: of the columns.
    """

    fields: tuple[Field, ...]

    @classmethod
    def fit(cls, cells: Cells, choice: Choice, rows: NDArray[np.int64], min_frequency: int, max_categories: int) -> Encoding:
        """Learn from some rows.

        Args:
            cells: of the table.
            choice: what becomes of its columns.
            rows: (M,) that are trained on.
            min_frequency: see `Tabular`.
            max_categories: likewise.
        """
        made: list[Field] = [NumberField.fit(name, cells, rows) for name in choice.numbers]
        for name in choice.categories:
            made.append(CategoryField.fit(name, cells.words(name), rows, min_frequency, max_categories))
        made += [VectorField.fit(name, cells, rows) for name in choice.vectors]
        return cls(tuple(made))

    @property
    def width(self) -> int:
        """D, the numbers of a row."""
        return sum(one.width for one in self.fields)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [one.name for one in self.fields]

    @property
    def groups(self) -> Tensor:
        """(D,) int64, the number of the column that each number belongs to, -1 for numbers of vectors, which come last."""
        each = [-1 if isinstance(one, VectorField) else place for place, one in enumerate(self.fields)]
        return torch.tensor(each, dtype=torch.int64).repeat_interleave(torch.tensor([one.width for one in self.fields]))

    def __call__(self, cells: Cells, where: str) -> tuple[Tensor, list[str]]:
        """(N, D) float32 rows of a table that has these columns in any order, and what the user is to be told of them.

        Args:
            cells: of the table.
            where: what messages call the rows.

        Raises:
            ValueError: naming a column that is not there or holds something else.
        """
        check_columns(self.fields, cells.table)
        rows = np.zeros((len(cells.table), self.width), dtype=np.float32)
        said, start = [], 0
        for one in self.fields:
            said += [f"{where}, column {one.name}: {line}" for line in one.fill(cells, rows[:, start : start + one.width])]
            start += one.width
        return torch.from_numpy(rows), said

    def text(self) -> str:
        """What a row is made of, for the user."""
        kinds = {
            NumberField: ("number", "numbers"),
            CategoryField: ("category", "categories"),
            VectorField: ("vector", "vectors"),
        }
        counts = {kind: sum(isinstance(one, kind) for one in self.fields) for kind in kinds}
        parts = [f"{many:,} {kinds[kind][many > 1]}" for kind, many in counts.items() if many]
        return f"{', '.join(parts)}: {self.width:,} inputs a row"

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which `of` makes it again."""
        return {"fields": [one.state() for one in self.fields]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Encoding:
        """The inverse of `state`."""
        return cls(tuple(field_of(one) for one in state["fields"]))


def check_columns(fields: Sequence[Field], table: Columns) -> None:
    """Refuse a table that lacks columns, or has another kind of values in them.

    Raises:
        ValueError: naming them.
    """
    missing = [one.name for one in fields if one.name not in table]
    if missing:
        raise ValueError(
            f"{table.where} lacks {', '.join(map(repr, missing))}, which the model was trained on; it has "
            f"{', '.join(table.columns)}. Add the columns, empty where nothing is known"
        )
    for one in fields:
        kind = table.columns[one.name].kind
        fits = kind == "vector" if isinstance(one, VectorField) else kind in ("number", "bool", "text", "class")
        if not fits and not (isinstance(one, CategoryField) and kind == "date"):
            raise ValueError(
                f"the column {one.name} of {table.where} holds {kind} values, those of training were of another kind; prepare "
                "both alike"
            )
