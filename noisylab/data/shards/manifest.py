"""What a pack holds: rows, classes, shards with their digests, and columns."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["MANIFEST", "Manifest", "PackError", "Shard", "file_digest"]

MANIFEST = "manifest.json"
_FORMAT, _VERSION = "noisylab shards", 1


class PackError(ValueError):
    """A pack that cannot be used; the message names it, the file at fault and what to do."""


@dataclass(frozen=True)
class Shard:
    """A file of the pack.

    Args:
        file: its name.
        size: bytes.
        sha256: of its content, in hex.
        rows: that it holds; 0 of a column.
    """

    file: str
    size: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True)
class Manifest:
    """All there is to know of a pack without reading its rows.

    Args:
        kind: "pictures", files of pictures as they were, or "arrays", rows of one shape.
        class_names: K names.
        shards: in the order of their rows.
        columns: files of the columns by their name.
        row: shape and type of a row of arrays; empty for pictures.
        measured: what was measured on the rows: of arrays the mean and the standard deviation of each channel or feature, of
            pictures the `Depth` that they are scaled by.
        has_test: whether the folder ``test`` beside this is a pack of test rows.
        order: the seed by which the rows were shuffled before they were packed; `None` for the order of the source.
        account: what was packed and what was left out, a sentence each.
    """

    kind: Literal["pictures", "arrays"]
    class_names: tuple[str, ...]
    shards: tuple[Shard, ...]
    columns: dict[str, Shard]
    row: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    has_test: bool = False
    order: int | None = None
    account: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of arrays."""
        return math.prod(self.row["shape"]) * {"uint8": 1, "float32": 4}[self.row["dtype"]]

    @property
    def id(self) -> str:
        """SHA-256 of all of this, which names the pack wherever it lies."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the manifest, the last file of a pack, into its folder."""
        content = {"format": _FORMAT, "version": _VERSION, "id": self.id, "rows": self.num_rows, **asdict(self)}
        (folder / MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, file: Path, place: str) -> Manifest:
        """The manifest in a file.

        Args:
            file: where it lies.
            place: of the pack, for messages.

        Raises:
            PackError: for another version of the format, a file that is no manifest, one that was changed, or one that names
                files outside the folder of the pack.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            name, version = content["format"], content["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise PackError(
                f"{place}/{MANIFEST} is no manifest of a pack ({error}); pack the data with noisylab data pack"
            ) from error
        if name != _FORMAT or version != _VERSION:
            raise PackError(
                f"{place} is in the format {name!r}, version {version!r}, and this noisylab reads {_FORMAT!r}, version "
                f"{_VERSION}; read it with the noisylab that packed it, or pack the data again"
            )
        try:
            found = cls(
                kind=content["kind"],
                class_names=tuple(content["class_names"]),
                shards=tuple(Shard(**shard) for shard in content["shards"]),
                columns={name: Shard(**shard) for name, shard in content["columns"].items()},
                row=content["row"],
                measured=content["measured"],
                has_test=content["has_test"],
                order=content["order"],
                account=tuple(content["account"]),
            )
        except (KeyError, TypeError) as error:
            raise PackError(f"{place}/{MANIFEST} is damaged ({error}); copy the pack again") from error
        if found.id != content.get("id"):
            raise PackError(
                f"{place}/{MANIFEST} was changed after the pack was written; copy the pack again, or pack the data again"
            )
        for part in (*found.columns.values(), *found.shards):
            if Path(part.file).name != part.file:  # which would be written there when it is fetched
                raise PackError(
                    f"{place}/{MANIFEST} names the file {part.file!r}, which is not in the pack's own folder; take packs only "
                    "from people you trust"
                )
        return found


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
