"""How many checked rows tell two classifiers apart."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["rows_to_check"]

_NORMAL = NormalDist()


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
