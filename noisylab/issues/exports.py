"""Ranked labels for other programs: tables with the files beside the labels, and tasks of Label Studio to review."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from noisylab.data.exports import Export
from noisylab.files import atomic_path
from noisylab.issues.table import SIGNALS, IssueTable

__all__ = ["Shown", "ShownKind", "review_tasks", "write_parquet", "write_review", "write_table"]

ShownKind: TypeAlias = Literal["image", "audio", "text"]

CONTROL = "label"  # the name of the choices in tasks that are not from Label Studio; docs/labeling_tools.md gives the interface


@dataclass(frozen=True)
class Shown:
    """What the rows of a ranked list are about.

    Args:
        kind: pictures, recordings or texts.
        values: of each row of the list: the file with its whole path, or the text.
        folder: of the files, which Label Studio is to serve; `None` for texts.
    """

    kind: ShownKind
    values: Sequence[str]
    folder: Path | None = None


def _columns(table: IssueTable, shown: Shown | None, media: str) -> dict[str, list[Any]]:
    """The table column by column; unknown signals are `None`.

    Args:
        table: ranked labels.
        shown: what its rows are about.
        media: name of the column of that.
    """
    names = table.class_names
    columns: dict[str, list[Any]] = {} if shown is None else {media: list(shown.values)}
    columns[table.key] = table.index.tolist() if table.names is None else list(table.names)
    columns["given"] = [names[place] for place in table.given.tolist()]
    columns["suggested"] = [names[place] for place in table.suggested.tolist()]
    columns |= {"score": table.score.tolist(), "is_issue": table.is_issue.tolist(), "confidence": table.confidence.tolist()}
    for name in SIGNALS:
        if name in table.signals:
            columns[name] = [value if math.isfinite(value) else None for value in table.signals[name].tolist()]
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}


def write_table(path: str | Path, table: IssueTable, shown: Shown | None, *, media: str | None = None) -> None:
    """Write comma-separated text with a row for each label, as FiftyOne's ``CSVDataset`` reads it with ``filepath`` as `media`.

    Args:
        path: the new file.
        table: ranked labels.
        shown: what the rows are about; `None` for arrays, of which there is no more than their numbers.
        media: the column with the files or texts; `None` for "image", "audio" or "text".

    Raises:
        FileExistsError: when the file is there.
    """
    columns = _columns(table, shown, media or (shown.kind if shown is not None else ""))
    with (
        atomic_path(path, new=True) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_parquet(path: str | Path, table: IssueTable, shown: Shown | None) -> None:
    """Write a parquet file with a row for each label, as Renumics Spotlight, pandas and polars read it.

    The columns ``given`` and ``suggested`` are dictionaries of all classes, so that readers take them for categories.

    Args:
        path: the new file.
        table: ranked labels.
        shown: see `write_table`; in a column "image", "audio" or "text".

    Raises:
        FileExistsError: when the file is there.
        ModuleNotFoundError: without pyarrow.
        ValueError: for the name of a file that is no text, which parquet cannot hold.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ModuleNotFoundError(f'parquet files need the package pyarrow: pip install "noisylab[tables]" ({error})') from error
    columns = _columns(table, shown, shown.kind if shown is not None else "")
    places = {"given": table.given, "suggested": table.suggested}
    try:
        arrays = {
            name: pyarrow.DictionaryArray.from_arrays(places[name].astype("int32"), list(table.class_names))
            if name in places
            else pyarrow.array(values)
            for name, values in columns.items()
        }
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: parquet holds text, but a file has a name that is none ({error}); rename it") from error
    with atomic_path(path, new=True) as partial:
        pyarrow.parquet.write_table(pyarrow.table(arrays), partial)


def review_tasks(table: IssueTable, shown: Shown | None, export: Export | None, places: Sequence[int], model: str) -> list[Any]:
    """Tasks of Label Studio whose predictions are the suggested labels.

    Args:
        table: ranked labels, of which all become tasks, in their order.
        shown: what the rows are about; not needed with tasks of an export.
        export: the export of Label Studio that the labels come from; its tasks are taken as they are, with their annotations.
        places: with `export`, the number of each row's task among its rows.
        model: what the predictions are said to be made by.

    Returns:
        The tasks, as `json.dump` writes them.

    Raises:
        ValueError: for arrays, which Label Studio cannot show.
    """
    control, about, key = CONTROL, "", ""
    if export is not None:
        control, about, key = export.control[0], export.control[1] or export.value_key, export.value_key
    elif shown is None:
        raise ValueError("Label Studio shows pictures, recordings and texts; rows of arrays are none of these")
    tasks = []
    for row in range(len(table)):
        given, suggested = (table.class_names[int(labels[row])] for labels in (table.given, table.suggested))
        if export is None:
            assert shown is not None
            about = key = shown.kind
            task: dict[str, Any] = {
                "data": {
                    key: _address(shown, row),
                    table.key: table.keys[row],
                    "given": given,
                    "score": round(float(table.score[row]), 6),
                }
            }
        else:
            task = _task(export, places[row])
        result = {"from_name": control, "to_name": about, "type": "choices", "value": {"choices": [suggested]}}
        score = round(float(table.confidence[row]), 6)
        prediction = {"model_version": model, "score": score, "result": [result]}
        task["predictions"] = [*task.get("predictions", []), prediction]
        tasks.append(task)
    return tasks


def _address(shown: Shown, row: int) -> str:
    """How Label Studio finds what a row is about: a file of its local storage, or text."""
    if shown.folder is None:
        return shown.values[row]
    inside = Path(shown.values[row]).relative_to(shown.folder.parent)
    return f"/data/local-files/?d={quote(inside.as_posix(), errors='surrogateescape')}"


def _task(export: Export, place: int) -> dict[str, Any]:
    content = export.source.content[export.rows[place].origin]
    if export.tool == "Label Studio":
        return dict(content)
    return {"id": content["id"], "data": {export.value_key: content[export.value_key]}}


def write_review(path: str | Path, tasks: Sequence[Mapping[str, Any]]) -> None:
    """Write tasks as JSON, to import into Label Studio.

    Raises:
        FileExistsError: when the file is there.
    """
    with atomic_path(path, new=True) as partial:
        partial.write_text(json.dumps(tasks, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
