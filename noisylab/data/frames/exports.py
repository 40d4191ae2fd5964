"""An export of a labeling tool as a table in memory, for data sets of texts, recordings and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisylab.data.exports.export import Export
from noisylab.data.exports.files import names_below
from noisylab.data.frames.columns import Column, Columns, Media

__all__ = ["export_columns"]


def export_columns(export: Export, folder: Path | None = None) -> Columns:
    """The rows of an export: the column ``label``, and ``text``, ``image`` or ``audio``; their ids are those of the tasks.

    Args:
        export: as read.
        folder: of pictures or recordings; `None` for that of the export.

    Raises:
        ValueError: none of the files is there.
    """
    source = export.source
    folder = source.path.parent if folder is None else folder
    notes = [f"{source.path}: {text}" for text in export.notes]
    labels = [row.label for row in export.rows]
    values = [row.value for row in export.rows]
    whole = np.zeros(len(values), dtype=bool)
    if export.kind == "text":
        shown = Column("text", values, whole)
    else:
        names, told = names_below(folder, values, str(source.path))
        notes += [f"{source.path}: {text}" for text in told]
        shown = Column(export.kind, [Media(name) for name in names], whole)
    columns = {export.kind: shown, "label": Column("text", labels, np.array([not label for label in labels], dtype=bool))}
    ids = [row.row_id for row in export.rows]
    return Columns(f"{source.path} ({export.tool})", columns, ids=ids, folder=folder, account=notes)
