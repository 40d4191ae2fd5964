"""What a page shows of each row: a picture, a text, a sound, or the cells of a table."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from noisylab.data.base import NoisyDataModule
from noisylab.data.frames.columns import Column, Columns, Media
from noisylab.data.frames.module import FrameData
from noisylab.issues.thumbnails import thumbnails

__all__ = ["Contents", "contents_of", "picture_contents"]

Kind: TypeAlias = Literal["picture", "text", "cells", "sound"]

_LETTERS = 10_000  # of a text, in the page
_ALL_LETTERS = 20_000_000  # of all texts; a browser holds them in memory
_SHORT = 500  # of the texts after that
_CELL = 300  # letters of a cell
_SOUND = 2 << 20  # bytes of a recording, about ten seconds of uncompressed speech at 96 kHz, or a minute at 16 kHz
_ALL_SOUND = 64 << 20  # bytes of all recordings
_PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_SOUNDS = {  # first bytes, after those of the size
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"FORM": "audio/aiff",
}


@dataclass(frozen=True)
class Contents:
    """What there is to see or hear of some rows.

    Args:
        kind: of content.
        rows: by place in the list, 0 for the first:

            - "picture" and "sound": an address that holds its own content, "data:image/png;base64,...";
            - "text": the text, or its beginning and the number of its letters, if that is all of it that is shown;
            - "cells": N texts, one for each of `names`.
        names: of the columns of "cells".
        missing: what a row that is not among `rows` shows instead.
    """

    kind: Kind
    rows: Mapping[int, Any]
    names: tuple[str, ...] = ()
    missing: str = "no picture"

    def check(self, rows: int) -> None:
        """Refuse places that a list does not have.

        Args:
            rows: of the list.

        Raises:
            ValueError: naming the first such place.
        """
        wrong = sorted(place for place in self.rows if not 0 <= place < rows)
        if wrong:
            raise ValueError(f"contents has position {wrong[0]}, but the table has {rows} rows, counted from 0")

    def as_json(self) -> dict[str, Any]:
        """What the script of the page reads."""
        rows = {place: self.rows[place] for place in sorted(self.rows)}
        return {"kind": self.kind, "names": list(self.names), "missing": self.missing, "rows": rows}


def contents_of(data: NoisyDataModule, index: Sequence[int], pictures: int) -> Contents | None:
    """What there is to see or hear of training rows.

    Args:
        data: after its ``setup``.
        index: rows of the original training set, in the order of the list.
        pictures: how many of the first have a picture or a sound; texts and cells have all.

    Returns:
        The contents; `None` where rows are nothing to look at, such as the numbers of an array.
    """
    first = index[:pictures]
    if isinstance(data, FrameData):
        return _of_table(data, index, first)
    return picture_contents(thumbnails(data, first) or {}) if first else None


def picture_contents(pictures: Mapping[int, bytes]) -> Contents | None:
    """Pictures by their place in the list, JPEG or PNG files; `None` for none.

    Raises:
        ValueError: for a picture that is neither.
    """
    if not pictures:
        return None
    rows = {}
    for place, content in sorted(pictures.items()):
        kind = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), None)
        if kind is None:
            raise ValueError(
                f"the picture at position {place} is neither JPEG nor PNG: it begins with {content[:8].hex() or 'nothing'}"
            )
        rows[place] = _address(kind, content)
    return Contents("picture", rows)


def _of_table(data: FrameData, index: Sequence[int], first: Sequence[int]) -> Contents | None:
    if data.shown_as == "image":
        return picture_contents(thumbnails(data, first) or {}) if first else None
    table, _ = data.tables
    if data.shown_as == "cells":
        return _cells(data, table, index)
    column = table.columns[data.input_columns(table)[0]]
    return _texts(column, index) if data.shown_as == "text" else _sounds(table, column, first)


def _texts(column: Column, index: Sequence[int]) -> Contents:
    rows: dict[int, Any] = {}
    left = _ALL_LETTERS
    for place, row in enumerate(index):
        if column.missing[row]:
            rows[place] = ""
            continue
        text = str(column.values[row])
        shown = text[: _LETTERS if left > 0 else _SHORT]
        left -= len(shown)
        rows[place] = shown if len(shown) == len(text) else [shown, len(text)]
    return Contents("text", rows, missing="no text")


def _sounds(table: Columns, column: Column, index: Sequence[int]) -> Contents:
    rows, left = {}, _ALL_SOUND
    for place, media in enumerate(_media(column, index)):
        try:
            content = media.read(table.folder)
        except (OSError, ValueError):
            continue
        known = next((kind for start, kind in _SOUNDS.items() if content.startswith(start)), None)
        kind = "audio/mp4" if content[4:8] == b"ftyp" else known
        if kind is not None and len(content) <= min(_SOUND, left):
            rows[place] = _address(kind, content)
            left -= len(content)
    return Contents("sound", rows, missing="not in the page: too long, too many, or no format that browsers play")


def _media(column: Column, index: Sequence[int]) -> Iterable[Media]:
    for row in index:
        value = Media() if column.missing[row] else column.values[row]
        yield value if isinstance(value, Media) else Media(path=str(value))


def _cells(data: FrameData, table: Columns, index: Sequence[int]) -> Contents | None:
    """The columns that are trained on, then the others but labels and ids."""
    labels = {data.label, data.true_label, data.id_column}
    used = data.input_columns(table)
    names = [*used, *(name for name in table.columns if name not in {*used, *labels})]
    columns = [table.columns[name] for name in names]
    cells = [_written(column, index) for column in columns]
    return Contents("cells", dict(enumerate(map(list, zip(*cells, strict=True)))), tuple(names), missing="no cells")


def _written(column: Column, index: Sequence[int]) -> list[str]:
    """Cells as they are read; of a vector its beginning."""
    if column.kind == "vector":
        return [f"{column.values[row][:4].tolist()} ..." for row in index]
    if column.kind == "number" and np.asarray(column.values).dtype.kind == "f":
        return ["" if column.missing[row] else f"{column.values[row]:.6g}" for row in index]
    texts = column.take(np.array(index, dtype=np.int64)).texts()
    return [text if len(text) <= _CELL else f"{text[:_CELL]} …" for text in texts]


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
