"""Two classifiers on the same rows: their paired difference, how sure it is, and how many checked rows would tell them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["PairedRows", "mcnemar_p", "paired_rows", "rows_to_check"]

_DRAWS = 20_000
_NORMAL = NormalDist()


@dataclass(frozen=True)
class PairedRows:
    """Two classifiers on the same M rows, each prediction right or wrong by the given label.

    Args:
        rows: M.
        only_first: rows on which only the first is right.
        only_second: rows on which only the second is right.
        disagree: rows on which they predict different classes, whichever is right.
        difference: accuracy of the first minus that of the second.
        standard_error: of the difference, over rows.
        level: the coverage that the interval is made for.
        interval: bootstrap interval of the difference, over rows.
        p_value: of McNemar's exact test that both are right equally often.
    """

    rows: int
    only_first: int
    only_second: int
    disagree: int
    difference: float
    standard_error: float
    level: float
    interval: tuple[float, float]
    p_value: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves 0 out."""
        low, high = self.interval
        return low > 0 or high < 0

    @property
    def level_with(self) -> bool:
        """Whether the difference is less than its standard error, or nothing: too little to prefer either."""
        return self.difference == 0 or abs(self.difference) < self.standard_error


def paired_rows(
    first: NDArray[np.int64], second: NDArray[np.int64], given: NDArray[np.int64], *, level: float = 0.95, seed: int = 0
) -> PairedRows:
    """Compare two classifiers row by row.

    Rows on which both are right, or both wrong, cancel out of the difference, so that it is known better than either accuracy.
    The interval is that of the percentiles of resampled rows; a resample of M rows is a draw of how many of them only the first,
    only the second, or neither or both have right.

    Args:
        first: (M,) predicted classes.
        second: (M,) likewise, of the other.
        given: (M,) given labels.
        level: coverage of the interval, above 0 and below 1.
        seed: of the resampling.

    Raises:
        ValueError: for no rows, arrays of several lengths, or a level that is not between 0 and 1.

    >>> found = paired_rows(np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]))
    >>> found.only_first, found.only_second, found.disagree, found.difference
    (1, 0, 2, 0.25)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, got {level}")
    if not len(given) or not len(first) == len(second) == len(given):
        raise ValueError(f"first, second and given must have one length, above 0, got {len(first)}, {len(second)}, {len(given)}")
    ours, theirs, rows = first == given, second == given, len(given)
    only_first, only_second = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    difference = (only_first - only_second) / rows
    variance = ((only_first + only_second) / rows - difference**2) / rows
    shares = np.array([only_first, only_second, rows - only_first - only_second]) / rows
    drawn = np.random.default_rng(seed).multinomial(rows, shares, size=_DRAWS)
    tail = (1 - level) / 2
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / rows, [tail, 1 - tail])
    return PairedRows(
        rows=rows,
        only_first=only_first,
        only_second=only_second,
        disagree=int((first != second).sum()),
        difference=difference,
        standard_error=math.sqrt(max(variance, 0.0)),
        level=level,
        interval=(float(low), float(high)),
        p_value=mcnemar_p(only_first, only_second),
    )


def mcnemar_p(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p-value: of n coins, at most so few, or at least so many, on one side.

    Args:
        only_first: rows on which only the first is right.
        only_second: rows on which only the second is right.

    >>> mcnemar_p(5, 0), mcnemar_p(3, 3)
    (0.0625, 1.0)
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(count, number) for number in range(fewer + 1))
    return min(2 * tail / 2**count, 1.0)  # whole numbers: exact, however many rows


def rows_to_check(lead: float, *, level: float = 0.95, power: float = 0.8) -> int | None:
    """How many rows on which two classifiers disagree must be checked, to tell which is right more often.

    Of such a row one of the two is right, or neither. If the first is right more often than the second by a share d of them, the
    count of "first minus second" over m checked rows has the mean m d and at most the variance m (1 - d^2); it differs from 0 by
    a two-sided test of the level with the power asked for once m >= (z_level + z_power)^2 (1 - d^2) / d^2. Where neither is
    right on many of these rows, fewer suffice.

    Args:
        lead: d, in [-1, 1].
        level: coverage of the interval that shall leave 0 out.
        power: probability that it does.

    Returns:
        At least 6, below which no outcome is unlikely enough at the level 0.95; None where the lead is 0, which no number tells.

    >>> rows_to_check(0.5), rows_to_check(0.1), rows_to_check(0.0)
    (24, 778, None)
    """
    if not -1 <= lead <= 1:
        raise ValueError(f"lead must be in [-1, 1], got {lead}")
    if lead == 0:
        return None
    reach = _NORMAL.inv_cdf((1 + level) / 2) + _NORMAL.inv_cdf(power)
    fewest = math.ceil(1 - math.log2(1 - level))  # 2 / 2^m <= 1 - level, all on one side
    return max(math.ceil(reach**2 * (1 - lead**2) / lead**2), fewest)
