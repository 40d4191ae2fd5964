"""Decodes each file once: what was decoded is kept in files that name the content they were made of and verify their own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from noisylab.data.caches import progress_bar, stamp
from noisylab.data.media.faults import UnreadableMedia
from noisylab.data.media.frontend import Array
from noisylab.files import atomic_path
from noisylab.reading import regular

__all__ = ["Decoded", "Recipe", "decode_all"]

_THREADS = 8  # decoders run side by side
_DIGEST = hashlib.sha256().digest_size
_FORMAT = b"noisylab media 1\n"


class Recipe(NamedTuple):
    """How a file is decoded.

    Args:
        name: of all that the result depends on beside the file; another one where anything of it changes.
        decode: maps the content of the file to named arrays; raises `UnreadableMedia` where it cannot.
        arrays: their names.
        by: packages that decode it. What another version of one has made is not used, since it may differ.
    """

    name: str
    decode: Callable[[bytes], Mapping[str, Array]]
    arrays: tuple[str, ...]
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """What came of a file.

    Args:
        sha256: of its content, in hexadecimal; empty for a file that cannot be read at all.
        arrays: by name; empty where there is a fault.
        fault: why it cannot be decoded; empty if it can.
    """

    sha256: str
    arrays: Mapping[str, Array]
    fault: str = ""


def decode_all(files: Sequence[str | bytes], recipe: Recipe, folder: Path | None) -> list[Decoded]:
    """Each file decoded, or read from the folder of what was decoded before.

    An entry there belongs to the SHA-256 of the file's content, to the recipe and to the versions of its decoders: a file that
    has changed is decoded again, and one that was copied or renamed is not. The digests of files seen before are remembered by
    path, size and times of change, but not of those that changed a moment ago, which could change again without showing it.
    Entries are written whole or not at all, so a process that is killed leaves nothing half-made, and two processes that decode
    the same file at once do no harm. Each carries the digest of itself; one that is damaged is made again, with a warning.

    Args:
        files: paths, or the content of files that lie elsewhere, such as in a table.
        recipe: how to decode them.
        folder: of what was decoded; `None` keeps nothing.

    Returns:
        What came of each, in the order of `files`.
    """
    known = _Digests(folder)
    found = []
    try:
        with (
            progress_bar(len(files), f"{recipe.name.partition(' ')[0]} decoded", "file") as advance,
            ThreadPoolExecutor(max_workers=_THREADS) as pool,
        ):
            for one in pool.map(lambda file: _one(file, recipe, folder, known), files):
                found.append(one)
                advance(1)
    finally:
        known.save()
    return found


def _one(file: str | bytes, recipe: Recipe, folder: Path | None, known: _Digests) -> Decoded:
    if isinstance(file, bytes):
        return _decoded(file, hashlib.sha256(file).hexdigest(), recipe, folder)
    key = stamp(file)
    sha256 = known.get(key)
    if sha256 and folder is not None and (arrays := _read(_entry(folder, recipe, sha256), recipe)) is not None:
        return Decoded(sha256, arrays)
    try:
        content = regular(file).read_bytes()
    except OSError as error:
        return Decoded("", {}, f"cannot be read ({error.strerror or error})")
    sha256 = hashlib.sha256(content).hexdigest()
    known.add(key, sha256)
    return _decoded(content, sha256, recipe, folder)


def _decoded(content: bytes, sha256: str, recipe: Recipe, folder: Path | None) -> Decoded:
    if folder is not None and (arrays := _read(_entry(folder, recipe, sha256), recipe)) is not None:
        return Decoded(sha256, arrays)
    try:
        arrays = dict(recipe.decode(content))
    except UnreadableMedia as error:
        return Decoded(sha256, {}, str(error))
    if folder is not None:
        _write(folder, _entry(folder, recipe, sha256), arrays)
    return Decoded(sha256, arrays)


def _entry(folder: Path, recipe: Recipe, sha256: str) -> Path:
    versions = [f" {package} {_version(package)}" for package in recipe.by]
    name = hashlib.sha256(f"{recipe.name}{''.join(versions)}\0{sha256}".encode()).hexdigest()
    return folder / name[:2] / f"{name}.decoded"


@functools.cache
def _version(package: str) -> str:
    """Of an installed package; empty for one that is missing, which decoding says."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _read(file: Path, recipe: Recipe) -> dict[str, Array] | None:
    """The arrays in an entry; `None` where there is none, with a warning if it is damaged."""
    try:
        content = regular(file).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        rank_zero_warn(f"{file} cannot be read ({error}): what is in it is decoded again")
        return None
    start = len(_FORMAT) + _DIGEST
    if content.startswith(_FORMAT) and hashlib.sha256(content[start:]).digest() == content[len(_FORMAT) : start]:
        with np.load(io.BytesIO(content[start:]), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in recipe.arrays}
    rank_zero_warn(f"{file} is damaged: what was in it is decoded again and the file is replaced")
    return None


def _write(folder: Path, file: Path, arrays: Mapping[str, Array]) -> None:
    with io.BytesIO() as body:
        np.savez(body, **arrays)  # type: ignore[arg-type]
        content = body.getvalue()
    try:
        with atomic_path(file) as partial:
            partial.write_bytes(_FORMAT + hashlib.sha256(content).digest() + content)
    except OSError as error:  # told in the same words for every file, so that Python shows it once
        reason = error.strerror or error
        rank_zero_warn(f"what was decoded cannot be kept in {folder} ({reason}), so another run decodes it again; set cache")


class _Digests:
    """The SHA-256 of files seen before, by their stamp, in a file of lines; what is lost of it is computed again."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "digests.txt"
        self._known, self._new = self._load(), dict[str, str]()

    def _load(self) -> dict[str, str]:
        if self._file is None:
            return {}
        try:
            lines = self._file.read_text().splitlines()
        except (OSError, ValueError):
            return {}
        return {line[:32]: line[33:] for line in lines if len(line) == 97 and line[32] == " "}

    def get(self, stamp: str) -> str:
        return self._known.get(stamp, "")

    def add(self, stamp: str, sha256: str) -> None:
        if stamp:
            self._new[stamp] = sha256

    def save(self) -> None:
        if self._file is None or not self._new:
            return
        lines = [f"{stamp} {sha256}\n" for stamp, sha256 in {**self._load(), **self._new}.items()]
        with contextlib.suppress(OSError), atomic_path(self._file) as partial:  # costs the next run time and nothing else
            partial.write_text("".join(lines))
