"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; on success it takes the place of `path`, on an error it is removed.

    The folder is made if it is not there. A file already at `path` stays as it was until the new one is whole.

    Args:
        path: where the file shall be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
