"""Columns of data frames of pandas and polars, and of tables of pyarrow."""

from __future__ import annotations

from typing import Any

from noisylab.data.frames.arrowtables import arrow, columns_of_arrow
from noisylab.data.frames.columns import Column, Columns
from noisylab.data.frames.objects import column_of_objects
from noisylab.data.frames.textfiles import check_names, counted

__all__ = ["columns_of_dataframe"]


def columns_of_dataframe(frame: Any, where: str) -> Columns:
    """The columns of a data frame of pandas or polars, or of a `pyarrow.Table`.

    Args:
        frame: of one of these packages.
        where: its name in messages.

    Raises:
        ModuleNotFoundError: without pyarrow, naming the extra.
        TypeError: for anything else.
        ValueError: two columns of one name, or no row.
    """
    package, kind = type(frame).__module__.partition(".")[0], type(frame).__name__
    if package == "polars" and kind == "DataFrame":
        arrow()
        return columns_of_arrow(frame.to_arrow(), where)
    if package == "pyarrow" and kind == "Table":
        return columns_of_arrow(frame, where)
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return _of_pandas(frame, where)
    hint = "; collect() it first" if package == "polars" else "; from_dataset takes it" if package == "datasets" else ""
    raise TypeError(f"{kind} is no data frame of pandas or polars{hint}")


def _of_pandas(frame: Any, where: str) -> Columns:
    names = [str(name) for name in frame.columns]
    check_names([name or "(no name)" for name in names], where)
    columns: dict[str, Column] = {}
    said: list[str] = []
    for place, name in enumerate(names):
        columns[name], told = _column(frame.iloc[:, place], name, where)
        said += told
    if not columns:
        raise ValueError(f"{where} has no columns")
    return counted(Columns(where, columns, ids=_ids(frame.index)), said)


def _column(series: Any, name: str, where: str) -> tuple[Column, list[str]]:
    pyarrow = arrow()
    try:
        array = pyarrow.array(series, from_pandas=True)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):  # values of several types, or of none that Arrow has
        return column_of_objects(name, series.tolist())
    table = pyarrow.table({name: array})
    made = columns_of_arrow(table, where) if len(table) else None
    if made is None:
        raise ValueError(f"{where} has columns but no rows")
    return made.columns[name], [line.removeprefix(f"{where}: ") for line in made.account[1:]]


def _ids(index: Any) -> list[str] | None:
    """Names of the rows; `None` where they are numbers from 0."""
    values = index.tolist()
    if values == list(range(len(values))):
        return None
    return ["/".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
