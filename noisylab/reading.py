"""Checks on an untrusted file before it is opened: that it is a regular file, and that its claimed size is plausible."""

from __future__ import annotations

import gzip
import io
import math
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from noisylab.machine import physical_memory

__all__ = ["check_archive", "check_arrays", "gunzip", "regular"]

_KINDS = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
_LARGE, _RATIO = 2**28, 200  # bytes from which a file is looked at, and how much smaller than its content it may then be


def regular(path: str | Path) -> Path:
    """Return `path`, unless reading it might never end: a pipe, a socket or a device.

    A file that is not there, or a folder, is left to whoever opens it.

    Raises:
        OSError: naming what it is.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return path
    for is_kind, name in _KINDS.items():
        if is_kind(mode):
            raise OSError(f"{path} is {name}, not a file; copy its content into a file")
    return path


def check_archive(path: str | Path, names: Collection[str] | None = None) -> None:
    """Refuse a zip archive whose content is encrypted or implausibly large for the file.

    Args:
        path: a zip archive.
        names: members that will be read; `None` for all.

    Raises:
        OSError: see `regular`, or when it cannot be read.
        zipfile.BadZipFile: when it is no archive.
        ValueError: naming the member.
    """
    with zipfile.ZipFile(regular(path)) as archive:
        members = [item for item in archive.infolist() if names is None or item.filename in names]
    for item in members:
        if item.flag_bits & 1:
            raise ValueError(f"its member {item.filename!r} is encrypted; save it without a password")
        _check_size(f"its member {item.filename!r}", item.file_size)
        if item.file_size > _LARGE and item.file_size > _RATIO * max(item.compress_size, 1):
            raise ValueError(
                f"its member {item.filename!r} would grow from {_size(item.compress_size)} to {_size(item.file_size)}; "
                "save such data without compression, or as a sparse matrix"
            )
    total = sum(item.file_size for item in members)
    stored = sum(item.compress_size for item in members)
    _check_size("its content", total)
    if total > _LARGE and total > _RATIO * max(stored, 1):
        raise ValueError(f"its content would grow from {_size(stored)} to {_size(total)}; save such data without compression")


def check_arrays(path: str | Path, names: Collection[str] | None = None) -> None:
    """Refuse an .npy or .npz file that claims more than it holds, before anything is allocated for it.

    Args:
        path: the file.
        names: arrays that will be read; `None` looks at the archive's list of contents alone.

    Raises:
        OSError: see `regular`, or when it cannot be read.
        zipfile.BadZipFile: for a damaged .npz file.
        ValueError: saying what is wrong.
    """
    path = regular(path)
    with path.open("rb") as file:
        start = file.read(4)
        if start != b"PK\x03\x04":
            if start == b"\x93NUM":
                file.seek(0)
                _check_header(file, path.stat().st_size, "it")
            return
    members = [member for name in names or () for member in (name, f"{name}.npy")]
    check_archive(path, members)
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            if item.filename in members:
                with archive.open(item) as content:
                    if item.filename.endswith(".npy"):
                        _check_header(content, item.file_size, f"its member {item.filename!r}")


def gunzip(content: bytes) -> bytes:
    """The content of a gzip file, unless it is implausibly large for the file.

    Raises:
        OSError, EOFError, zlib.error: for a damaged file.
        ValueError: for one that grows to more than 200 times its size.
    """
    most = max(_LARGE, _RATIO * len(content))
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unpacked = file.read(most + 1)
    if len(unpacked) > most:
        raise ValueError(f"it would grow from {_size(len(content))} to more than {_size(most)}; unpack it yourself")
    return unpacked


def _check_header(file: IO[bytes], size: int, what: str) -> None:
    from numpy.lib import format as npy  # imported late: the command reads text before it needs arrays

    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    read = headers.get(npy.read_magic(file))
    if read is None:  # for the names of structured arrays, which nobody here reads
        raise ValueError(f"{what} is written in a format for structured arrays; save plain arrays")
    header: Any = read(file)
    shape, _, dtype = header
    claimed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and claimed > size:
        raise ValueError(f"{what} claims {_size(claimed)} (shape {shape}), but has {_size(size)}; write it again")


def _check_size(what: str, size: int) -> None:
    memory = physical_memory()
    if memory is not None and size > memory:
        raise ValueError(f"{what} needs {_size(size)}, and this machine has {_size(memory)} of memory")


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count //= 1024
    return f"{count:,} {unit}"
