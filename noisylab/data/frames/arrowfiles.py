"""Reads tables from parquet, Arrow and feather files, and data sets saved by the package datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisylab.data.frames.arrowtables import arrow, columns_of_arrow
from noisylab.data.frames.columns import Columns
from noisylab.reading import regular

__all__ = ["SAVED", "SAVED_SPLITS", "read_arrow", "read_parquet", "read_saved", "read_saved_splits"]

SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""Files by which `Dataset.save_to_disk` and `DatasetDict.save_to_disk` are known."""


def read_parquet(files: Sequence[Path], where: str) -> Columns:
    """The rows of parquet files, one after the other.

    Args:
        files: parts of one table.
        where: its name in messages.

    Raises:
        ModuleNotFoundError: naming the extra that brings pyarrow.
        ValueError: a file is no parquet file or ends early, or the columns of the parts differ.
    """
    arrow()
    from pyarrow import parquet

    return _joined([_opened(file, "parquet", lambda path: parquet.ParquetFile(path).read()) for file in files], files, where)


def read_arrow(files: Sequence[Path], where: str) -> Columns:
    """The rows of Arrow files, also called feather, one after the other; see `read_parquet`."""
    ipc = arrow().ipc

    def read(path: str) -> Any:
        with Path(path).open("rb") as file:
            start = file.read(6)
            if start[:4] == b"FEA1":
                raise ValueError("it is of the first version of feather; write it anew")
            file.seek(0)
            return (ipc.open_file if start == b"ARROW1" else ipc.open_stream)(file).read_all()

    return _joined([_opened(file, "Arrow", read) for file in files], files, where)


def read_saved(folder: Path, where: str) -> Columns:
    """A data set that `datasets.Dataset.save_to_disk` wrote, without the package datasets.

    Raises:
        ValueError: the folder is not complete.
    """
    try:
        state = json.loads((folder / SAVED).read_text(encoding="utf-8"))
        names = [entry["filename"] for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / SAVED} is not what Dataset.save_to_disk writes ({error}); save the data set again"
        ) from error
    if not names or any(Path(name).name != name for name in names):
        raise ValueError(f"{folder / SAVED} names no files of this folder; save the data set again")
    if state.get("_indices_data_files"):
        raise ValueError(f"{folder} was saved with a list of rows by an old release of datasets; load and save it again")
    return read_arrow([folder / name for name in names], where)


def read_saved_splits(folder: Path) -> dict[str, Columns]:
    """The splits that `datasets.DatasetDict.save_to_disk` wrote; see `read_saved`."""
    try:
        names = json.loads((folder / SAVED_SPLITS).read_text(encoding="utf-8"))["splits"]
        known = [str(name) for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / SAVED_SPLITS} is not what DatasetDict.save_to_disk writes ({error}); save the data set again"
        ) from error
    absent = [name for name in known if Path(name).name != name or not (folder / name / SAVED).is_file()]
    if absent or not known:
        raise ValueError(f"{folder} lacks the split {absent[0] if absent else 'train'}; save the data set again")
    return {name: read_saved(folder / name, f"{folder}, split {name}") for name in known}


def _opened(file: Path, what: str, read: Any) -> Any:
    regular(file)
    if not file.is_file():
        raise FileNotFoundError(f"there is no table {file}; check the path")
    if not file.stat().st_size:
        raise ValueError(f"{file} is empty (0 bytes); is the download or the copy complete?")
    try:
        return read(str(file))
    except (arrow().ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{file} is no {what} file, or a part of one: {str(error).splitlines()[0]}") from error


def _joined(tables: Sequence[Any], files: Sequence[Path], where: str) -> Columns:
    first = tables[0]
    for table, file in zip(tables, files, strict=True):
        if set(table.column_names) != set(first.column_names):
            raise ValueError(
                f"{file} has the columns {', '.join(table.column_names)}, and {files[0]} has {', '.join(first.column_names)}; "
                "parts of one table have the same columns"
            )
    if len(tables) > 1:
        try:
            joined = arrow().concat_tables(
                [table.select(first.column_names).replace_schema_metadata(None) for table in tables], promote_options="permissive"
            )
        except arrow().ArrowException as error:
            raise ValueError(f"the parts of {where} differ in a column: {str(error).splitlines()[0]}") from error
        first = joined.replace_schema_metadata(first.schema.metadata)
    return columns_of_arrow(first, where, files[0].parent)
