"""What the bytes or the name of a file in a table say about it: a picture, a recording, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from noisylab.data.frames.clipfolders import SUFFIXES
from noisylab.data.pictures import looks_like_image, suffixes

__all__ = ["media_kind"]

_MARKS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"FORM", b".snd")


def media_kind(value: Any) -> Literal["image", "audio"] | None:
    """What a value of a table is the file of, or the name of the file of.

    Args:
        value: bytes of a file; a name; or a record of both, ``{"bytes": ..., "path": ...}``, as the package datasets writes it.
    """
    if isinstance(value, Mapping):
        if not set(value) <= {"bytes", "path"} or "bytes" not in value:
            return None
        return media_kind(value["bytes"]) or media_kind(value.get("path"))
    if isinstance(value, bytes):
        if value[:4] == b"RIFF" and value[8:12] == b"WAVE":
            return "audio"
        if looks_like_image(value[:16]):
            return "image"
        return "audio" if value.startswith(_MARKS) else None
    if isinstance(value, str):
        suffix = PurePosixPath(value).suffix.lower()
        return "image" if suffix in suffixes() else "audio" if suffix in SUFFIXES else None
    return None
