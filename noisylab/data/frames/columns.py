"""A table in memory, column by column, whatever format it came in."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "Columns", "Kind", "Media"]

Kind: TypeAlias = Literal["number", "bool", "text", "class", "date", "vector", "image", "audio", "other"]
"""What a column holds, see `Column`."""

_SHOWN = 12  # columns in a message


@dataclass(frozen=True)
class Media:
    """A picture or a recording of one row.

    Args:
        path: its file; of what a table holds itself, the name that it had, if any.
        content: the bytes of the encoded file, if the table holds them; else `path` is read.
    """

    path: str | None = None
    content: bytes | None = None

    def read(self, folder: Path | None = None) -> bytes:
        """The encoded file.

        Args:
            folder: what a relative path begins from.

        Raises:
            OSError: if it cannot be read.
            ValueError: if there is neither content nor path.
        """
        if self.content is not None:
            return self.content
        if self.path is None:
            raise ValueError("a row has neither a file nor the content of one")
        return (Path(self.path) if folder is None else folder / self.path).read_bytes()


@dataclass(frozen=True)
class Column:
    """One column of N rows.

    Args:
        kind: what `values` is:

            - "number": (N,) int64 or float64;
            - "bool": (N,) bool;
            - "text": N texts;
            - "class": (N,) int64, places in `names`;
            - "date": (N,) datetime64, dates, times or both;
            - "vector": (N, D) float32, such as embeddings;
            - "image", "audio": N `Media`;
            - "other": N objects that are none of these.
        values: of each row; anything where `missing` is True (0, False, "", -1, NaT, `Media()`).
        missing: (N,) bool, rows without a value: null, None, NaN or an empty cell of a text table.
        names: of a "class", its K names.
        written: (N) cells of a text table that `values` were read from, "" where it is missing; `None` for what is no text table.
    """

    kind: Kind
    values: NDArray[Any] | Sequence[Any]
    missing: NDArray[np.bool_]
    names: tuple[str, ...] | None = None
    written: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if len(self.values) != len(self.missing):
            raise ValueError(f"a column has {len(self.values)} values and {len(self.missing)} marks of missing ones")
        if (self.kind == "class") != (self.names is not None):
            raise ValueError(f'names are for columns of the kind "class" and needed there, got {self.kind!r} with {self.names}')

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> Column:
        """The column with some rows, in their order."""
        values = self.values[rows] if isinstance(self.values, np.ndarray) else [self.values[row] for row in rows.tolist()]
        written = None if self.written is None else [self.written[row] for row in rows.tolist()]
        return replace(self, values=values, missing=self.missing[rows], written=written)

    def texts(self) -> list[str]:
        """Each value as it is written: cells of a text table, names of classes, whole numbers without a point, "" for none."""
        if self.written is not None:
            written = list(self.written)
        elif self.kind == "class":
            assert self.names is not None
            written = [self.names[place] if place >= 0 else "" for place in map(int, self.values)]
        elif self.kind in ("image", "audio"):
            written = [media.path or "" for media in self.values]
        else:
            written = list(map(str, self.values.tolist() if isinstance(self.values, np.ndarray) else self.values))
        return ["" if gone else text for text, gone in zip(written, self.missing.tolist(), strict=True)]


@dataclass(frozen=True)
class Columns:
    """A table of N rows.

    Args:
        where: what messages call it, such as the name of its file.
        columns: by name, all of N rows.
        ids: (N) names of the rows by which corrections find back, such as the index of a data frame; `None` for their numbers.
        folder: what relative paths in its columns begin from.
        account: what the user was told when it was read.
    """

    where: str
    columns: Mapping[str, Column]
    ids: Sequence[str] | None = None
    folder: Path | None = None
    account: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError(f"{self.where} has no columns")
        lengths = {name: len(column) for name, column in self.columns.items()} | (
            {} if self.ids is None else {"ids": len(self.ids)}
        )
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of {self.where} differ in length: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def named(self, name: str, argument: str) -> Column:
        """The column that an argument names.

        Raises:
            ValueError: there is none; the message has the nearest.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{argument}={name!r}: {self.where} has no such column; it has {_some(list(self.columns))}{hint}")
        return self.columns[name]

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Names of the columns of some kinds, in their order."""
        return [name for name, column in self.columns.items() if column.kind in kinds]

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """The table with some rows, in their order."""
        taken = {name: column.take(rows) for name, column in self.columns.items()}
        return replace(self, columns=taken, ids=None if self.ids is None else [self.ids[row] for row in rows.tolist()])

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 of the content of some columns, in hexadecimal digits; that of files counts by their names and sizes."""
        digest = hashlib.sha256(str(len(self)).encode())
        for name in names:
            column = self.columns[name]
            digest.update(f"{name}\0{column.kind}\0{column.names}\0".encode())
            digest.update(column.missing.tobytes())
            if isinstance(column.values, np.ndarray) and column.values.dtype != object:
                digest.update(f"{column.values.dtype}{column.values.shape}".encode())
                digest.update(np.ascontiguousarray(column.values).view(np.uint8).tobytes())
            else:
                for value in column.values:
                    digest.update(self._bytes(value) + b"\0")
        return digest.hexdigest()

    def _bytes(self, value: Any) -> bytes:
        if not isinstance(value, Media):
            return str(value).encode("utf-8", "surrogatepass")
        if value.content is not None or value.path is None:
            return hashlib.sha256(value.content or b"").digest()
        file = Path(value.path) if self.folder is None else self.folder / value.path
        return f"{value.path}\0{file.stat().st_size if file.is_file() else -1}".encode("utf-8", "surrogateescape")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
