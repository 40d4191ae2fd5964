"""Tells labeling tools' files from tables, and from one another, by their content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from noisylab.data.exports.coco import coco_rows, is_coco
from noisylab.data.exports.export import Export
from noisylab.data.exports.jsontext import JsonText, begins_as_json, read_json
from noisylab.data.exports.labelstudio import is_label_studio, label_studio_controls, label_studio_rows
from noisylab.data.exports.labelstudiomin import is_json_min, json_min_controls, json_min_rows

__all__ = ["controls_of", "export_of", "is_export", "read_export", "read_label_studio"]

_KNOWN = "Label Studio's JSON or JSON-MIN export, or a COCO file with one category a picture"


def is_export(path: str | Path) -> bool:
    """Whether a file of labels is to be read as a labeling tool's: it begins as JSON does, whatever its name."""
    return begins_as_json(Path(path))


def read_export(path: str | Path, label: str | None = None, value: str | None = None) -> Export:
    """The labels of a labeling tool's file.

    Args:
        path: a JSON or JSON-MIN export of Label Studio, or a COCO file.
        label: of Label Studio, the name of the choices that are the labels, where there are several.
        value: of Label Studio, the entry of the tasks' data that is labeled, where several may be.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these, or listing up to ten tasks, annotations or images at fault by their ids.
    """
    source = read_json(path)
    made = _rows(source, label, value)
    if made is None:
        raise ValueError(f"{path} is JSON, but {_seen(source)}. What is read: {_KNOWN}, or a table as comma-separated text")
    return made


def export_of(path: str | Path) -> JsonText | None:
    """The content of a labeling tool's file; `None` for any other file, such as a list of records in JSON."""
    if not is_export(path):
        return None
    try:
        source = read_json(path)
    except ValueError:
        return None  # whoever reads it as a table says why it cannot be read
    known = is_coco(source.content) or is_label_studio(source.content) or is_json_min(source.content)
    return source if known else None


def controls_of(source: JsonText) -> list[str]:
    """Of a file of Label Studio, the names of its choices; none for a COCO file."""
    if is_label_studio(source.content):
        return label_studio_controls(source)
    return json_min_controls(source) if is_json_min(source.content) else []


def _rows(source: JsonText, label: str | None, value: str | None) -> Export | None:
    if is_coco(source.content):
        named = [name for name, given in (("label", label), ("file", value)) if given is not None]
        if named:
            raise ValueError(f"{source.path} is a COCO file, which has no {' or '.join(named)} column to name; leave it out")
        return coco_rows(source)
    if is_label_studio(source.content):
        return label_studio_rows(source, label, value)
    return json_min_rows(source, label, value) if is_json_min(source.content) else None


def read_label_studio(path: str | Path, label: str | None = None, value: str | None = None) -> Export:
    """The tasks of a JSON or JSON-MIN export of Label Studio, of pictures, texts or recordings: see `read_export`."""
    made = read_export(path, label, value)
    if made.tool == "COCO":
        raise ValueError(f"{path} is a COCO file, not an export of Label Studio")
    return made


def _seen(source: JsonText) -> str:
    content = source.content
    if isinstance(content, dict):
        if isinstance(content.get("data"), dict):
            return "a single task of Label Studio; export the whole project"
        return f"an object with {_few(content)}"
    if isinstance(content, list):
        if not content:
            return "an empty list"
        first = content[0]
        return (
            f"a list of objects with {', '.join(map(repr, list(first)[:5]))}" if isinstance(first, dict) else "a list of values"
        )
    return "a single value"


def _few(keys: Iterable[str]) -> str:
    return ", ".join(map(repr, list(keys)[:5])) or "nothing in it"
