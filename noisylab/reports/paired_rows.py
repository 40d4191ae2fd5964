"""Two runs on the same held-out rows: who is right where the other is wrong."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noisylab.reading import check_arrays
from noisylab.reports.paired import points
from noisylab.reports.runs import RunFolderError

__all__ = ["HELD_OUT", "HeldOutRows", "RowDifference", "compare_rows", "read_held_out", "row_difference"]

HELD_OUT = "validation.npz"
_NAMES = ("index", "given", "pred")
_DRAWS = 20_000


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """What a run predicted for its held-out rows at the end of training.

    Args:
        index: (R,) int64, rows of the training set, in rising order.
        given: (R,) int64, their labels.
        predicted: (R,) int64.
        path: the file, for messages.
    """

    index: NDArray[np.int64]
    given: NDArray[np.int64]
    predicted: NDArray[np.int64]
    path: Path

    def pairs_with(self, other: HeldOutRows) -> bool:
        """Whether the other is about the same rows with the same labels, of which there is at least one."""
        same = np.array_equal(self.index, other.index) and np.array_equal(self.given, other.given)
        return same and len(self.index) > 0


@dataclass(frozen=True)
class RowDifference:
    """A run against another on the same rows; fractions, above 0 where the first is right more often.

    This is about these two networks: how they would compare on other rows like these. It says nothing about how the methods vary
    from seed to seed.

    Args:
        rows: how many.
        first_only: rows on which the first alone agrees with the label.
        second_only: rows on which the second alone does.
        level: the coverage that the interval is made for.
        interval: percentile bootstrap interval of the difference, over rows.
        p_value: of McNemar's exact test: two-sided, binomial on the rows on which one alone is right; 1 where there is none.
    """

    rows: int
    first_only: int
    second_only: int
    level: float
    interval: tuple[float, float]
    p_value: float

    @property
    def difference(self) -> float:
        """The difference of the two accuracies."""
        return (self.first_only - self.second_only) / self.rows

    def __str__(self) -> str:
        """In words, in points."""
        low, high = (points(value) for value in self.interval)
        return (
            f"{self.rows} rows: {points(self.difference)}, {100 * self.level:g} % interval {low} to {high}; "
            f"right where the other is wrong on {self.first_only} and {self.second_only}, exact McNemar p = {self.p_value:.2g}"
        )


def read_held_out(folder: str | os.PathLike[str]) -> HeldOutRows:
    """Read the predictions that a run left for its held-out rows.

    Args:
        folder: of the run.

    Raises:
        RunFolderError: there are none, or the file is not as a run writes it.
    """
    path = Path(folder) / HELD_OUT
    if not path.is_file():
        raise RunFolderError(f"{folder} has no {HELD_OUT}; a run with held-out rows (data.val_fraction) writes it at its end")
    try:
        check_arrays(path, _NAMES)
        with np.load(path, allow_pickle=False) as file:
            arrays = [np.asarray(file[name]) for name in _NAMES]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); repeat the run") from error
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or any(array.dtype.kind not in "iu" for array in arrays):
        what = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in zip(_NAMES, arrays, strict=True))
        raise RunFolderError(f"{path} has {what}; expected whole numbers, one of each for a row; repeat the run")
    order = np.argsort(arrays[0], kind="stable")
    index, given, predicted = (array[order].astype(np.int64) for array in arrays)
    return HeldOutRows(index, given, predicted, path)


def compare_rows(first: HeldOutRows, second: HeldOutRows, *, level: float = 0.95) -> RowDifference:
    """Compare two runs row by row.

    Args:
        first: of one run.
        second: of the other, on the same rows with the same labels.
        level: coverage of the interval, above 0 and below 1.

    Raises:
        ValueError: the rows or their labels differ, there are none, or the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; 0.95 is usual")
    if not np.array_equal(first.index, second.index):
        raise ValueError(
            f"{first.path} and {second.path} are about different rows\n"
            "  compare runs with the same data.val_fraction and split_seed"
        )
    if not np.array_equal(first.given, second.given):
        raise ValueError(
            f"{first.path} and {second.path} have different labels for the same rows\n"
            "  compare runs with the same noise and its seed"
        )
    if not len(first.index):
        raise ValueError(f"{first.path} has no rows; set data.val_fraction above 0")
    return row_difference(first.predicted == first.given, second.predicted == second.given, level=level)


def row_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], *, level: float = 0.95) -> RowDifference:
    """The paired difference from which rows each of two networks got right.

    Args:
        first: (R,) whether the first is right, R at least 1.
        second: (R,) whether the second is, on the same rows.
        level: coverage of the interval, above 0 and below 1.

    Example:
        >>> import numpy as np
        >>> a, b = np.array([1, 1, 1, 1, 0]) == 1, np.array([1, 0, 0, 1, 0]) == 1
        >>> row_difference(a, b).p_value
        0.5
    """
    from scipy import special  # late: most commands need none of it

    rows = len(first)
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    # a resample of the rows only matters by how many of each of the three kinds it has
    drawn = np.random.default_rng(0).multinomial(rows, [one / rows, other / rows, (rows - one - other) / rows], size=_DRAWS)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / rows, [0.5 - level / 2, 0.5 + level / 2]).tolist()
    p_value = min(1.0, 2 * float(special.bdtr(min(one, other), one + other, 0.5)))
    return RowDifference(rows, one, other, level, (low, high), p_value)
