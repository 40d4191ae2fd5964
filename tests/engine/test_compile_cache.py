"""Libraries that a kill has left empty or cut off are removed from the compiler's cache, and no others."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from noisylab.engine.compile_cache import remove_broken_libraries


def _library(size: int) -> bytes:
    """A header that says the table of 3 sections of 64 bytes begins at byte 100, and so many bytes in all."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 40, 100)
    struct.pack_into("<HH", header, 58, 64, 3)
    return bytes(header) + bytes(size - 64)


def test_broken_libraries_go_and_whole_ones_stay(tmp_path: Path) -> None:
    inner = tmp_path / "ab"
    inner.mkdir()
    contents = {"empty.so": b"", "cut.so": _library(291), "whole.so": _library(292), "other.so": b"x" * 80, "empty.cpp": b""}
    for name, content in contents.items():
        (inner / name).write_bytes(content)
        os.utime(inner / name, (0, 0))
    (inner / "being_written.so").touch()
    assert [path.name for path in remove_broken_libraries(tmp_path)] == ["cut.so", "empty.so"]
    assert sorted(path.name for path in inner.iterdir()) == ["being_written.so", "empty.cpp", "other.so", "whole.so"]
    assert remove_broken_libraries(tmp_path / "absent") == []
