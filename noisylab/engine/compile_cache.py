"""Cleans up what a killed compilation leaves in the compiler's cache, where later runs would trip over it."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

__all__ = ["remove_broken_libraries"]

_SETTLED = 5.0  # seconds since the last write, after which no linker is at work on the file any more
_ELF = struct.Struct("<4sBB34xQ10xHH2x")  # magic, 64 bits, little-endian; place, size and number of the sections
_HEADER = 64


def remove_broken_libraries(cache: Path, settled: float = _SETTLED) -> list[Path]:
    """Remove compiled libraries that were not completely written; the compiler makes them again.

    The compiler writes a library in its place, and takes any file of that name for a finished one: killed in between, it leaves
    an empty or cut file on which every later run that needs it fails.

    Args:
        cache: folder of the compiler's cache; it need not be there.
        settled: seconds since the last write before a file counts as abandoned.

    Returns:
        What was removed.
    """
    found = []
    for path in sorted(cache.rglob("*.so")) if cache.is_dir() else []:
        with contextlib.suppress(OSError):  # another process was first, or it is not ours
            if path.is_file() and time.time() - path.stat().st_mtime >= settled and _broken(path):
                path.unlink()
                found.append(path)
    return found


def _broken(path: Path) -> bool:
    """Whether a library is empty, or ends before its table of sections does, which linkers write last."""
    size = path.stat().st_size
    if size < _HEADER:
        return True
    with path.open("rb") as file:
        magic, bits, order, sections, length, count = _ELF.unpack(file.read(_ELF.size))
    return magic == b"\x7fELF" and bits == 2 and order == 1 and sections + length * count > size
