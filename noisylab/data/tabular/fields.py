"""What becomes of one column of a table: numbers that a network takes, by what was learned of the rows that are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.folders import listed
from noisylab.data.scaling import Scaling, measure
from noisylab.data.tabular.cells import Cells, Words

__all__ = ["CategoryField", "Field", "NumberField", "VectorField", "field_of"]

_HEAVY = 10.0  # interquartile ranges from the median beyond which a column has heavy tails
_QUANTILES = 1000
_ROUNDING = 1e-14  # deviation, as a share of the largest number, of a constant
_FARTHEST = 3.0  # of a number that has heavy tails, in standard deviations

Array = NDArray[np.float32]


class Field(Protocol):
    """A column and what was learned of it."""

    @property
    def name(self) -> str:
        """Of the column."""
        ...

    @property
    def width(self) -> int:
        """Numbers that it becomes."""
        ...

    def fill(self, cells: Cells, out: Array) -> list[str]:
        """Write the numbers of all N rows.

        Args:
            cells: of the table.
            out: (N, width) float32, zeros, written to.

        Returns:
            What the user is to be told of values that were not met in training.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Plain values and tensors from which `field_of` makes the field again."""
        ...


@dataclass(frozen=True)
class NumberField:
    """A number: the median where it is missing, then zero mean and unit variance.

    A column with heavy tails (a number more than ten interquartile ranges from the median) is first brought to a normal
    distribution by its quantiles and cut off at three standard deviations, as one number of a million would else set the scale
    of all the others.

    Args:
        name: of the column.
        median: of the rows that have a number.
        quantiles: (Q,) float64, evenly spaced ones from the smallest to the largest number; none without heavy tails.
        mean: of all rows after that.
        scale: standard deviation likewise, 1 for a constant.
        indicator: whether a second number says in which rows it is missing.
    """

    name: str
    median: float
    quantiles: Tensor
    mean: float
    scale: float
    indicator: bool

    @classmethod
    def fit(cls, name: str, cells: Cells, rows: NDArray[np.int64]) -> NumberField:
        """Learn from some rows, one of which has a number."""
        values = cells.numbers(name).values[rows]
        gone = np.isnan(values)
        median = float(np.median(values[~gone]))
        filled = np.where(gone, median, values)
        low, high = np.quantile(filled, [0.25, 0.75])
        far = max(float(np.max(filled)) - median, median - float(np.min(filled)))
        heavy = far > _HEAVY * (high - low) and not _two_values(filled)
        steps = np.linspace(0, 1, min(_QUANTILES, len(filled)))
        # rounding may put a quantile below the one before it
        quantiles = np.maximum.accumulate(np.quantile(filled, steps)) if heavy else np.empty(0)
        spread = _to_normal(filled, quantiles) if heavy else filled
        top = float(np.max(np.abs(spread))) or 1.0  # squares of numbers near 1e300 are finite after division by it
        mean, scale = float(np.mean(spread / top)) * top, float(np.std(spread / top))
        constant = scale <= _ROUNDING
        return cls(name, median, torch.from_numpy(quantiles), mean, 1.0 if constant else scale * top, bool(gone.any()))

    @property
    def width(self) -> int:
        """The number, and whether it is missing."""
        return 1 + self.indicator

    def fill(self, cells: Cells, out: Array) -> list[str]:
        """See `Field.fill`."""
        numbers = cells.numbers(self.name)
        gone = np.isnan(numbers.values)
        filled = np.where(gone, self.median, numbers.values)
        spread = _to_normal(filled, self.quantiles.numpy()) if len(self.quantiles) else filled
        limit = float(np.finfo(np.float32).max)
        out[:, 0] = np.clip((spread - self.mean) / self.scale, -limit, limit)
        if self.indicator:
            out[:, 1] = gone
        said = []
        if numbers.unread:
            said.append(
                f"{sum(numbers.unread.values()):,} cells are no numbers and count as missing: {listed(list(numbers.unread))}"
            )
        if numbers.infinite:
            said.append(f"{numbers.infinite:,} infinite numbers count as missing")
        if gone.any() and not self.indicator:
            said.append(
                f"{int(gone.sum()):,} rows have no number, which no training row lacks; they get the median, {self.median:g}"
            )
        return said

    def state(self) -> dict[str, Any]:
        """See `Field.state`."""
        return {"role": "number", **self.__dict__}


@dataclass(frozen=True)
class CategoryField:
    """A category: a one in the place of its value, rare values together in one place.

    Args:
        name: of the column.
        kept: values with a place of their own, sorted; "" is a missing one.
        rare: values that share the last place. None leaves all that was not met in training without a one.
    """

    name: str
    kept: tuple[str, ...]
    rare: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, words: Words, rows: NDArray[np.int64], min_frequency: int, max_categories: int) -> CategoryField:
        """Learn from some rows; see `Tabular` for the two numbers."""
        counts = words.counts(rows)
        there = np.flatnonzero(counts)
        frequent = there[counts[there] >= min_frequency]
        if len(frequent) + (len(frequent) < len(there)) > max_categories:
            order = np.argsort(-counts[frequent], kind="stable")  # of equally frequent ones, the first in the alphabet
            frequent = np.sort(frequent[order[: max_categories - 1]])
        kept = set(frequent.tolist())
        return cls(
            name,
            tuple(words.names[place] for place in frequent.tolist()),
            tuple(words.names[place] for place in there.tolist() if place not in kept),
        )

    @property
    def width(self) -> int:
        """Places of values."""
        return len(self.kept) + bool(self.rare)

    def fill(self, cells: Cells, out: Array) -> list[str]:
        """See `Field.fill`."""
        words = cells.words(self.name)
        places = {name: place for place, name in enumerate(self.kept)} | dict.fromkeys(self.rare, len(self.kept))
        last = len(self.kept) if self.rare else -1
        place = np.array([places.get(name, last) for name in words.names], dtype=np.int64)[words.codes]
        marked = np.flatnonzero(place >= 0)
        out[marked, place[marked]] = 1
        new = [name not in places for name in words.names]
        rows = int(np.bincount(words.codes, minlength=len(new))[np.array(new, dtype=bool)].sum())
        if not rows:
            return []
        names = [name or "(missing)" for name, unseen in zip(words.names, new, strict=True) if unseen]
        as_what = "count as rare ones" if self.rare else "are zero in all places"
        return [f"{rows:,} rows have values that no training row has, which {as_what}: {listed(names)}"]

    def state(self) -> dict[str, Any]:
        """See `Field.state`."""
        return {"role": "category", "name": self.name, "kept": list(self.kept), "rare": list(self.rare)}


@dataclass(frozen=True)
class VectorField:
    """A column of vectors, scaled as `noisylab.data.scaling.measure` says.

    Args:
        name: of the column.
        width: numbers of each vector.
        scaling: of the rows.
    """

    name: str
    width: int
    scaling: Scaling

    @classmethod
    def fit(cls, name: str, cells: Cells, rows: NDArray[np.int64]) -> VectorField:
        """Learn from some rows."""
        values = _vectors(cells, name)
        return cls(name, values.shape[1], measure(values, "auto", torch.from_numpy(rows)))

    def fill(self, cells: Cells, out: Array) -> list[str]:
        """See `Field.fill`.

        Raises:
            ValueError: for vectors of another width, or rows without one.
        """
        values = _vectors(cells, self.name)
        if values.shape[1] != self.width:
            raise ValueError(
                f"the column {self.name} of {cells.table.where} has vectors of {values.shape[1]} numbers, those of training have "
                f"{self.width}; prepare both alike"
            )
        scaled = self.scaling(values, f"the column {self.name} of {cells.table.where}")
        assert isinstance(scaled, Tensor)
        out[:] = scaled.numpy()
        return []

    def state(self) -> dict[str, Any]:
        """See `Field.state`."""
        return {"role": "vector", "name": self.name, "width": self.width, "scaling": self.scaling.state()}


def field_of(state: Mapping[str, Any]) -> Field:
    """The inverse of `Field.state`."""
    given = dict(state)
    role = given.pop("role")
    if role == "number":
        return NumberField(**given)
    if role == "category":
        return CategoryField(given["name"], tuple(given["kept"]), tuple(given["rare"]))
    return VectorField(given["name"], given["width"], Scaling.of(given["scaling"]))


def _two_values(values: NDArray[np.float64]) -> bool:
    """Whether there are at most two different numbers, as in an indicator, most of whose ranges are zero."""
    return bool(((values == values.min()) | (values == values.max())).all())


def _to_normal(values: NDArray[np.float64], quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers as a normal distribution has them at the same quantiles, within three standard deviations.

    This is `sklearn.preprocessing.QuantileTransformer` with normal output, cut off: of equal quantiles, which many equal numbers
    have, the middle one counts; what lies outside is at the end.
    """
    steps = np.linspace(0, 1, len(quantiles))
    share = 0.5 * (np.interp(values, quantiles, steps) - np.interp(-values, -quantiles[::-1], -steps[::-1]))
    share = np.where(values <= quantiles[0], 0.0, np.where(values >= quantiles[-1], 1.0, share))
    normal = torch.special.ndtri(torch.from_numpy(share)).numpy()
    return np.clip(normal, -_FARTHEST, _FARTHEST)


def _vectors(cells: Cells, name: str) -> Tensor:
    """(N, D) float32.

    Raises:
        ValueError: for another kind of column, or naming the first row without a vector or with NaN in it.
    """
    column, where = cells.table.columns[name], f"the column {name} of {cells.table.where}"
    if column.kind != "vector":
        raise ValueError(f"{where} holds {column.kind} values, those of training are vectors; prepare both alike")
    values = np.asarray(column.values, dtype=np.float32)
    bad = column.missing | ~np.isfinite(values).all(1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{where} has no vector, or NaN or infinity in it, in {int(bad.sum()):,} rows, row {row} first; leave out these "
            f"rows, or the column with drop=[{name!r}]"
        )
    return torch.from_numpy(np.ascontiguousarray(values))
