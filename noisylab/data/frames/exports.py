"""A labeling tool's file as a table, for data sets of texts, recordings and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisylab.data.exports.export import Export
from noisylab.data.exports.files import names_below
from noisylab.data.exports.found import controls_of, export_of, read_export
from noisylab.data.frames.columns import Column, Columns, Media

__all__ = ["LABEL", "export_columns", "export_rows", "tool_table"]

LABEL = "label"
"""The column of the labels, unless a file of Label Studio has several choices: then each is a column of its own name."""


def tool_table(path: str | Path) -> Columns | None:
    """The table of a labeling tool's file; `None` for any other file.

    Raises:
        ValueError: it is one, but listing up to ten tasks, annotations or images that cannot be used.
    """
    source = export_of(path)
    if source is None:
        return None
    controls = controls_of(source)
    if len(controls) < 2:
        return export_columns({LABEL: read_export(path)})
    made, left, first = {}, [], None
    for control in controls:
        try:
            made[control] = read_export(path, control)
        except ValueError as error:  # of other choices, several may be allowed
            first = first or error
            left.append(f"the choices {control!r} are no labels and left out: {' '.join(str(error).split())}")
    if not made and first is not None:
        raise first
    return export_columns(made, left)


def export_rows(path: str | Path, label: str) -> Export:
    """The rows behind one column of `tool_table`, with the places where its labels are written.

    Args:
        path: the file.
        label: the column.
    """
    source = export_of(path)
    controls = [] if source is None else controls_of(source)
    return read_export(path, label if len(controls) > 1 else None)


def export_columns(exports: dict[str, Export], notes: list[str] | None = None, folder: Path | None = None) -> Columns:
    """The rows of an export: columns of labels, and "text", "image" or "audio"; their ids are those of the tasks.

    Args:
        exports: the same rows by the name of the column that their labels make.
        notes: what else a user is told.
        folder: of pictures or recordings; `None` for that of the file.

    Raises:
        ValueError: none of the files is there.
    """
    export = next(iter(exports.values()))
    path = export.source.path
    folder = path.parent if folder is None else folder
    account = [f"{path}: {text}" for text in dict.fromkeys([*(t for one in exports.values() for t in one.notes), *(notes or [])])]
    values = [row.value for row in export.rows]
    whole = np.zeros(len(values), dtype=bool)
    if export.kind == "text":
        columns = {"text": Column("text", values, whole)}
    else:
        names, told = names_below(folder, values, str(path))
        account += [f"{path}: {text}" for text in told]
        columns = {export.kind: Column(export.kind, [Media(name) for name in names], whole)}
    for name, one in exports.items():
        labels = [row.label for row in one.rows]
        columns[name] = Column("text", labels, np.array([not label for label in labels], dtype=bool))
    return Columns(f"{path} ({export.tool})", columns, ids=[row.row_id for row in export.rows], folder=folder, account=account)
