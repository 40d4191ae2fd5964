"""Which entry of a task's data is the picture, the recording or the text, and which file its address means."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from noisylab.data.exports.export import ExportKind
from noisylab.data.pictures import suffixes

__all__ = ["address", "value_of"]

_SOUND = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma"})
_PICTURE = frozenset({".svg", ".heic", ".avif"})  # pictures, though perhaps none that can be read here
_LOCAL, _UPLOAD = "/local-files/?d=", "/data/upload/"


def address(value: str) -> tuple[str, str]:
    """How a picture's or recording's address is meant, and the path in it.

    Args:
        value: a path or a URL, as Label Studio, COCO files and object stores write them.

    Returns:
        "upload", "local", "url" or "path"; and the path without the host, separated by slashes.

    >>> address("/data/local-files/?d=cats%20and%20dogs/1.jpg"), address("/data/upload/3/7a6b8c9d-1.jpg")
    (('local', 'cats and dogs/1.jpg'), ('upload', '3/7a6b8c9d-1.jpg'))
    >>> address("s3://bucket/photos/1.jpg"), address("photos/1.jpg")
    (('url', 'photos/1.jpg'), ('path', 'photos/1.jpg'))
    """
    if _LOCAL in value:
        kind, path = "local", unquote(value.partition(_LOCAL)[2])
    elif _UPLOAD in value:
        kind, path = "upload", unquote(urlsplit(value).path.partition(_UPLOAD)[2])
    elif "://" in value:
        kind, path = "url", unquote(urlsplit(value).path)
    else:
        kind, path = "path", value
    if "\\" in path and "/" not in path:  # written on Windows
        path = path.replace("\\", "/")
    return kind, os.path.normpath(path.lstrip("/")).replace(os.sep, "/") if path.strip("/") else ""


def value_of(data: Sequence[Mapping[str, Any]], key: str | None, where: str) -> tuple[str, ExportKind]:
    """The entry of the tasks' data that is labeled, and its kind.

    Args:
        data: of each task.
        key: the entry, if a user names it.
        where: the file, for messages.

    Raises:
        ValueError: there is no such entry, or several may be meant.
    """
    held = Counter(name for one in data for name, value in one.items() if isinstance(value, str) and value.strip())
    if key is not None:
        if key not in held:
            raise ValueError(
                f"{where}: no task has text or a file under {key!r}; its data has {', '.join(map(repr, held)) or 'nothing'}"
            )
        return key, _kind(data, key)
    kinds = {name: _kind(data, name) for name in held}
    for kind in ("image", "audio"):
        found = [name for name, its in kinds.items() if its == kind]
        if len(found) == 1:
            return found[0], kind
        if found:
            raise ValueError(f"{where}: the data of its tasks has {_listed(found)} files; name one as the column of the files")
    if "text" in held or len(held) == 1:
        return ("text" if "text" in held else next(iter(held))), "text"
    if not held:
        raise ValueError(f"{where}: the data of its tasks holds neither text nor the name of a file")
    raise ValueError(f"{where}: the data of its tasks has the texts {_listed(list(held))}; name one of them as the column")


def _kind(data: Sequence[Mapping[str, Any]], key: str) -> ExportKind:
    """What most values of an entry are."""
    counts: Counter[ExportKind] = Counter(
        _kind_of(value) for one in data if isinstance(value := one.get(key), str) and value.strip()
    )
    return counts.most_common(1)[0][0]


def _kind_of(value: str) -> ExportKind:
    if value.startswith("data:"):
        return "image" if value.startswith("data:image") else "audio" if value.startswith("data:audio") else "text"
    if len(value) > 4096 or "\n" in value:
        return "text"
    suffix = PurePosixPath(address(value)[1]).suffix.lower()
    return "image" if suffix in suffixes() | _PICTURE else "audio" if suffix in _SOUND else "text"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))
