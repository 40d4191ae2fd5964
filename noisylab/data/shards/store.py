"""The files of a pack, in a folder or fetched from an object store, checked against its manifest."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from noisylab.data.caches import cache_folder
from noisylab.data.shards.manifest import MANIFEST, Manifest, PackError, Shard, file_digest
from noisylab.files import atomic_path, move, partial_name

__all__ = ["PackFiles", "Verify", "is_remote"]

Verify = Literal["once", "always", "size"]

_THREADS = 4  # that compute digests, which releases Python's lock
_SHOWN = 10  # files in a message


def is_remote(place: str) -> bool:
    """Whether a place is in an object store: ``s3://bucket/folder``, ``gs://...``; litdata knows more."""
    return "://" in place or place.startswith("local:")


class PackFiles:
    """Paths of a pack's files on this machine.

    A pack in a folder is read there. Files of one in an object store are fetched when they are first needed, by litdata's
    downloaders, into ``$NOISYLAB_CACHE/shards`` (``~/.cache/noisylab/shards`` without that variable), where they stay, and each
    is compared with its digest at once.

    Args:
        place: the folder, or its address.

    Raises:
        FileNotFoundError: where there is no pack.
        PackError: for a manifest that cannot be used.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self.remote = is_remote(self.place)
        if self.remote:
            folder = cache_folder("shards")
            folder.mkdir(parents=True, exist_ok=True)
            file = self._fetch(MANIFEST, folder / f".{os.getpid()}.{MANIFEST}")
            self.manifest = Manifest.read(file, self.place)
            file.unlink()
            self.folder = folder / self.manifest.id[:32]
            self.folder.mkdir(exist_ok=True)
            return
        self.folder = Path(self.place)
        file = self.folder / MANIFEST
        if not file.is_file():
            why = "has no manifest.json: it was not written by noisylab data pack" if self.folder.is_dir() else "is not there"
            raise FileNotFoundError(
                f"there is no pack at {self.place}, which {why}. Write one with noisylab data pack; one that was interrupted "
                "leaves nothing, so start it again"
            )
        self.manifest = Manifest.read(file, self.place)

    def path(self, part: Shard) -> Path:
        """The file of a shard or column, fetched if it has to be.

        Raises:
            PackError: for one that cannot be fetched, or was fetched and is another one.
        """
        file = self.folder / part.file
        if not self.remote or file.exists():
            return file
        # under a name of its own, since several processes may fetch it at once; whoever is last replaces equal content
        partial = self._fetch(part.file, partial_name(file))
        fault = _fault(partial, part, digest=True)
        if fault:
            partial.unlink()
            raise PackError(f"{part.file} of the pack {self.place} {fault}; copy the pack there again")
        move(partial, file)
        return file

    def check(self, verify: Verify = "once") -> None:
        """Compare the files that are here with the manifest.

        Digests that were right are remembered in ``$NOISYLAB_CACHE/shards`` with size and time of change of the file.

        Args:
            verify: "size" looks at the sizes alone, "once" computes digests of files that have changed since, "always" all.

        Raises:
            PackError: naming the files that are missing, damaged, or of another pack.
        """
        parts = [*self.manifest.columns.values(), *self.manifest.shards]
        if self.remote:  # what is fetched later is compared then
            parts = [part for part in parts if (self.folder / part.file).exists()]
        memory = cache_folder("shards") / f"{self.manifest.id[:32]}.json"
        known = _remembered(memory) if verify == "once" else {}
        marks = [_mark(self.folder / part.file) for part in parts]

        def look(part: Shard, mark: list[Any] | None) -> str:
            seen = mark is not None and known.get(mark[0]) == mark[1:]
            return _fault(self.folder / part.file, part, digest=verify != "size" and not seen)

        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            faults = list(pool.map(look, parts, marks))
        wrong = [f"{part.file} {fault}" for part, fault in zip(parts, faults, strict=True) if fault]
        if wrong:
            raise PackError(_told(self.place, len(parts), wrong))
        now = {mark[0]: mark[1:] for mark in marks if mark is not None}
        if verify == "once" and now != {key: known.get(key) for key in now}:
            with contextlib.suppress(OSError), atomic_path(memory) as partial:  # costs the next run time and nothing else
                partial.write_text(json.dumps({**known, **now}))

    def _fetch(self, name: str, target: Path) -> Path:
        try:
            from litdata.streaming.downloader import get_downloader
        except ImportError as error:
            raise ImportError(
                f"the pack {self.place} is in an object store, and litdata, which fetches it, is not installed; install "
                "noisylab[shards]"
            ) from error
        try:
            get_downloader(self.place, str(target.parent), []).download_file(f"{self.place}/{name}", str(target))
        except Exception as error:  # clients of object stores fail in many ways
            raise PackError(f"{name} of the pack {self.place} cannot be fetched: {error or type(error).__name__}") from error
        if not target.exists():
            raise PackError(f"{name} of the pack {self.place} cannot be fetched: nothing came")
        return target


def _fault(file: Path, part: Shard, digest: bool) -> str:
    """What is wrong with a file; empty for nothing."""
    try:
        size = file.stat().st_size
    except OSError:
        return "is missing"
    if size != part.size:
        return f"has {size:,} bytes instead of {part.size:,}: it is damaged, or of another pack"
    if digest and (found := file_digest(file)) != part.sha256:
        return f"has the SHA-256 {found[:12]}... instead of {part.sha256[:12]}...: it is damaged, or of another pack"
    return ""


def _told(place: str, count: int, wrong: Sequence[str]) -> str:
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    lines = [f"{len(wrong)} of {count} files of the pack {place} cannot be used:", *wrong[:_SHOWN], *more]
    return "\n  ".join(lines) + "\nCopy them again from where the pack was written, or pack the data again"


def _mark(file: Path) -> list[Any] | None:
    with contextlib.suppress(OSError):
        status = file.stat()
        return [str(file.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return None


def _remembered(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(file.read_text())
        if isinstance(content, dict):
            return content
    return {}
