"""Tables in memory for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisylab.data.frames import Column, Columns


def number(values: Sequence[Any]) -> Column:
    """Numbers; None is missing."""
    gone = np.array([value is None for value in values])
    return Column("number", np.array([0.0 if value is None else value for value in values], dtype=np.float64), gone)


def text(values: Sequence[Any]) -> Column:
    """Texts; None is missing."""
    return Column("text", [value or "" for value in values], np.array([value is None for value in values]))


def kinds(names: Sequence[str], values: Sequence[int]) -> Column:
    """Places among class names; -1 is missing."""
    return Column("class", np.array(values), np.array(values) < 0, tuple(names))


def table(where: str = "table", **columns: Column) -> Columns:
    """A table of columns."""
    return Columns(where, columns)


def mixed(rows: int, seed: int = 0, missing: float = 0.0) -> Columns:
    """Two ordinary columns of numbers, one with heavy tails, two categories, and labels that depend on the first."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=rows)
    values = {"calm": first, "wide": 1e4 * rng.normal(size=rows) + 5e4, "heavy": rng.lognormal(0, 3, rows)}
    columns = {}
    for name, column in values.items():
        gone = rng.random(rows) < missing
        columns[name] = Column("number", np.where(gone, 0.0, column), gone)
    for name, alphabet in (("city", "abcdefgh"), ("sort", "xyz")):
        gone = rng.random(rows) < missing
        drawn = np.minimum(rng.geometric(0.5, rows) - 1, len(alphabet) - 1)
        columns[name] = Column("text", ["" if out else alphabet[k] for k, out in zip(drawn, gone, strict=True)], gone)
    columns["label"] = text(["high" if value > 0 else "low" for value in first])
    return Columns("mixed", columns)
