"""Places for labels that would otherwise lie on each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

__all__ = ["spread"]


def spread(values: Sequence[float], distance: float, floor: float = 0.0, ceiling: float = 100.0) -> list[float]:
    """Heights around `values`, in their order, at least `distance` apart and within the limits, as far as they allow it.

    Example:
        >>> spread([50.0, 52.0, 90.0], 5.0)
        [48.5, 53.5, 90.0]
    """
    order = sorted(range(len(values)), key=lambda position: values[position])
    risen, sunk = list(values), list(values)
    for lower, upper in itertools.pairwise(order):
        risen[upper] = max(risen[upper], risen[lower] + distance)
    for upper, lower in itertools.pairwise(reversed(order)):
        sunk[lower] = min(sunk[lower], sunk[upper] - distance)
    heights = [(high + low) / 2 for high, low in zip(risen, sunk, strict=True)]
    for position in order:
        heights[position] = max(heights[position], floor)
        floor = heights[position] + distance
    for position in reversed(order):
        heights[position] = min(heights[position], ceiling)
        ceiling = heights[position] - distance
    return heights
