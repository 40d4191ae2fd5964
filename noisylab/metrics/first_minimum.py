"""The first minimum of a smoothed curve, as one that follows it epoch by epoch would find it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FirstMinimum", "first_minimum"]


@dataclass(frozen=True)
class FirstMinimum:
    """What `first_minimum` found.

    Args:
        smoothed: trailing means, one for each value; NaN before the window is full.
        place: of the lowest trailing mean up to `stop`, counted from 0; None where no window was full.
        stop: the place at which the minimum was certain; None where it is not yet, and `place` may still move.
    """

    smoothed: tuple[float, ...]
    place: int | None
    stop: int | None


def first_minimum(
    values: Sequence[float], window: int = 3, patience: int = 1, weights: Sequence[float] | None = None
) -> FirstMinimum:
    """Find the first minimum of the trailing mean of a curve: the lowest one when `patience` means in a row are not below it.

    Args:
        values: one an epoch.
        window: how many of the last values a mean is over, at least 1; only full windows count.
        patience: how many means in a row, none of them lower, settle it; at least 1.
        weights: of the values, above 0, where these are sums over unequal numbers of samples: a mean is then the sum of the
            values of a window over that of their weights. None for 1 each.

    Raises:
        ValueError: for a window or a patience below 1, or another number of weights than of values.

    >>> changed = [900, 620, 480, 500, 430, 410, 450, 470, 520, 500, 560]  # in epochs 2 to 12
    >>> found = first_minimum(changed, window=3)
    >>> 2 + found.place, 2 + found.stop, found.smoothed[found.place]
    (8, 9, 430.0)
    """
    for name, number in (("window", window), ("patience", patience)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, got {number!r}")
    if weights is not None and len(weights) != len(values):
        raise ValueError(f"weights must be as many as values, {len(values)}, got {len(weights)}")
    smoothed: list[float] = []
    lowest, place, stop, waited = math.inf, None, None, 0
    for end in range(len(values)):
        last = slice(end + 1 - window, end + 1)
        full = end + 1 >= window
        # fsum: equal sums in another order are equal
        total = window if weights is None else math.fsum(weights[last]) if full else 1.0
        smoothed.append(math.fsum(values[last]) / total if full else math.nan)
        if stop is not None or not full:
            continue
        if smoothed[end] < lowest:
            lowest, place, waited = smoothed[end], end, 0
        else:
            waited += 1
            stop = end if waited >= patience else None
    return FirstMinimum(tuple(smoothed), place, stop)
