"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["atomic_path", "clear_partials"]

_PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there replaces `path` at the end, or is removed on an error.

    The folder is made if it is not there. What was written is flushed to the disk before it gets its name, so that a crash of the
    machine leaves the old file or the new one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as partial:
    ...         _ = partial.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def clear_partials(folder: str | Path, name: str = "*", older_than: float = 0.0) -> list[Path]:
    """Remove the files and folders that killed processes left half-written in a folder.

    Args:
        folder: it need not be there.
        name: of the file or folder that they were writing, "*" for any.
        older_than: seconds since the last write, in a folder since the last entry made or removed at its top; above 0 where
            another process may be writing.

    Returns:
        What was removed.
    """
    found = []
    for path in sorted(Path(folder).glob(f".{name}.*{_PARTIAL}")) if Path(folder).is_dir() else []:
        with contextlib.suppress(FileNotFoundError):  # another process was first
            if time.time() - path.stat().st_mtime >= older_than:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                found.append(path)
    return found


def _sync_folder(folder: Path) -> None:
    # the new name is in the folder, which has to reach the disk, too; some file systems cannot be asked for that
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
