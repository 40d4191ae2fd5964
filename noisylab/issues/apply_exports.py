"""Corrections written back into a labeling tool's file: a copy in which nothing but the corrected labels differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noisylab.data.exports import Export, read_pictures
from noisylab.data.frames.exports import export_rows
from noisylab.files import atomic_path
from noisylab.issues.fixes import Applied, Fixes, applied_of, changes_of, refuse, refuse_existing

__all__ = ["apply_to_export", "apply_to_tasks", "write_export"]


def apply_to_export(
    path: str | Path,
    folder: str | Path,
    fixes: Fixes,
    out: str | Path,
    *,
    label_column: str | None = None,
    file_column: str | None = None,
) -> Applied:
    """Write a copy of an export about pictures in which only the labels of the fixes differ.

    Args:
        path: the JSON or JSON-MIN export of Label Studio, or the COCO file.
        folder: of the pictures.
        fixes: by file, relative to `folder`.
        out: the new file, which ends in .json; it must not be there yet.
        label_column: of Label Studio, the name of the choices that are the labels, as the run was told.
        file_column: likewise, the entry of ``data`` with the picture.

    Raises:
        FileExistsError: when `out` already exists, above all when it is the export itself.
        FileNotFoundError: without the export or the folder.
        ValueError: for an export that `read_pictures` refuses, and see `write_export`. Nothing is written.
    """
    refuse_existing(out, Path(path))
    export, names, _ = read_pictures(path, Path(folder), file_column, label_column)
    return write_export(export, names, fixes, out)


def apply_to_tasks(path: str | Path, fixes: Fixes, out: str | Path, *, label: str) -> Applied:
    """Write a copy of an export that a data set reads as a table, in which only the labels of the fixes differ.

    Args:
        path: the export.
        fixes: by the id of the task or image.
        out: the new file, which ends in .json; it must not be there yet.
        label: the column of the labels, as `noisylab.data.frames.exports.tool_table` names it.

    Raises:
        FileExistsError: see `apply_to_export`.
        FileNotFoundError: likewise.
        ValueError: likewise.
    """
    refuse_existing(out, Path(path))
    export = export_rows(path, label)
    return write_export(export, [row.row_id for row in export.rows], fixes, out)


def write_export(export: Export, keys: Sequence[str], fixes: Fixes, out: str | Path) -> Applied:
    """Write a copy of an export in which only the labels of the fixes differ.

    An annotation keeps its id and all else; its choice, or its category, becomes the new label. Of several annotations of a task,
    all those are changed that said the old label; others, cancelled ones and predictions stay.

    Args:
        export: as read.
        keys: by which `fixes` name its rows: their files, or their ids.
        fixes: of these rows.
        out: the new file, which ends in .json; it must not be there yet.

    Raises:
        FileExistsError: when `out` already exists.
        ValueError: when `out` does not end in .json; listing up to ten fixes of rows that are not there or have no label, with
            labels that do not occur, or made for other labels. Nothing is written.
    """
    out, where = Path(out), str(export.source.path)
    refuse_existing(out, export.source.path)
    if out.suffix.lower() != ".json":
        raise ValueError(f"--out must end in .json, as {where} is written back in its own format; got {out}")
    present = {key: row.label for key, row in zip(keys, export.rows, strict=True)}
    number = {key: place for place, key in enumerate(keys)}
    refuse(
        [f"{export.unit} {export.rows[number[key]].row_id} ({key})" for key in fixes if present.get(key) == ""],
        f"accepted rows have no annotation in {where} that could be corrected",
        f"annotate them in {export.tool.partition(' (')[0]}",
    )
    changes, same = changes_of(fixes, present, export.labels, where)
    with atomic_path(out, new=True) as partial:
        partial.write_bytes(export.corrected({number[key]: label for key, label in changes.items()}))
    return applied_of(changes, same, present)
