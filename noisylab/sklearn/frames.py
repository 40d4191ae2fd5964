"""Data frames of pandas and polars, column by column, without importing either."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisylab.data.frames.columns import Column, Columns

__all__ = ["columns_of", "holds_numbers", "is_frame", "texts_column"]


def is_frame(X: Any) -> bool:
    """Whether something is a data frame, of pandas, polars or another library that has its columns and their types."""
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def holds_numbers(frame: Any) -> bool:
    """Whether a data frame is an array of numbers with names: no truth values, no categories, nothing missing."""
    columns = [frame[key] for key in frame.columns]
    plain = all("int" in str(series.dtype).lower() or "float" in str(series.dtype).lower() for series in columns)
    return plain and not any(_missing(series).any() for series in columns)


def columns_of(frame: Any, where: str = "X") -> Columns:
    """The columns of a data frame.

    Categories stay categories, whatever they are made of: codes are not taken for numbers.

    Args:
        frame: of pandas or polars.
        where: what messages call it.

    Raises:
        ValueError: for two columns of one name.
    """
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where} has the column {twice[0]!r} more than once; give every column a name of its own")
    made = {name: _column(frame[key]) for name, key in zip(names, frame.columns, strict=True)}
    return Columns(where, made)


def texts_column(texts: list[str | None]) -> Column:
    """A column of texts, `None` for none."""
    missing = np.array([text is None for text in texts], dtype=bool)
    return Column("text", ["" if text is None else text for text in texts], missing)


def _column(series: Any) -> Column:
    kind = getattr(series.dtype, "kind", "")
    if isinstance(series.dtype, np.dtype) and kind in "biuf":
        values = np.asarray(series)
        missing = np.isnan(values) if kind == "f" else np.zeros(len(values), dtype=bool)
        if kind == "b":
            return Column("bool", values, missing)
        return Column("number", values.astype(np.float64 if kind == "f" else np.int64), missing)
    missing = _missing(series)
    cells = series.tolist() if hasattr(series, "tolist") else series.to_list()
    known = [cell for cell, gone in zip(cells, missing.tolist(), strict=True) if not gone]
    if "categor" in str(series.dtype).lower() or str(series.dtype).startswith("Enum"):
        names = sorted({str(cell) for cell in known})
        codes = np.full(len(cells), -1, dtype=np.int64)
        codes[~missing] = np.searchsorted(names, [str(cell) for cell in known]) if known else 0
        return Column("class", codes, missing, tuple(names))
    if known and all(isinstance(cell, bool) for cell in known):
        return _filled("bool", known, missing)
    if known and all(isinstance(cell, Real) and not isinstance(cell, bool) for cell in known):
        values = np.zeros(len(cells), dtype=np.float64)
        values[~missing] = np.array(known, dtype=np.float64)
        missing = missing | np.isnan(values)
        return Column("number", values, missing)
    if all(isinstance(cell, str) for cell in known):
        return _filled("text", known, missing)
    if all(hasattr(cell, "isoformat") and hasattr(cell, "year") for cell in known):
        dates = np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[us]")
        dates[~missing] = np.array([cell.isoformat() for cell in known], dtype="datetime64[us]")
        return Column("date", dates, missing)
    return _filled("other", known, missing)


def _missing(series: Any) -> NDArray[np.bool_]:
    if hasattr(series, "isna"):
        return np.asarray(series.isna(), dtype=bool)
    gone = np.asarray(series.is_null(), dtype=bool)
    return gone | np.asarray(series.is_nan().fill_null(True), dtype=bool) if "Float" in str(series.dtype) else gone


def _filled(kind: Any, known: list[Any], missing: Any) -> Column:
    """A column of the values that there are, with something in the places of the others."""
    rest = iter(known)
    blank = "" if kind == "text" else False if kind == "bool" else None
    cells = [blank if gone else next(rest) for gone in missing.tolist()]
    return Column(kind, np.array(cells, dtype=bool) if kind == "bool" else cells, missing)
