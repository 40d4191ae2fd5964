"""Writes files atomically: a file is complete or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["atomic_path", "clear_partials", "move", "partial_name"]

_PARTIAL = ".partial"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


def partial_name(path: Path) -> Path:
    """A hidden, unpredictable name beside `path`; `clear_partials` finds it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{_PARTIAL}")


@contextlib.contextmanager
def atomic_path(path: str | Path, *, new: bool = False) -> Iterator[Path]:
    """A temporary file beside `path`, which replaces `path` at the end or is removed on an error.

    The folder is made if it is not there. What was written is flushed to the disk before it gets its name, so that a crash of the
    machine leaves the old file or the new one. The temporary file is made empty under a name that nobody can foresee, so that
    nothing is ever written through a link that lay in wait; a link at `path` is replaced itself, and what it leads to stays.

    Args:
        path: of the file.
        new: refuse to replace anything at `path`, even what came to be there while the file was written.

    Raises:
        FileExistsError: with `new`, when something is at `path`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as partial:
    ...         _ = partial.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        os.close(os.open(partial, _NEW, 0o666))  # less the umask
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        move(partial, path, new=new)
    finally:
        partial.unlink(missing_ok=True)


def move(source: Path, target: Path, *, new: bool = False) -> None:
    """Rename a file or folder within its folder durably: the change is flushed to disk.

    Args:
        source: what is there.
        target: its new name.
        new: refuse to replace a file.

    Raises:
        FileExistsError: with `new`, when something is at `target`.
    """
    if new:
        _link(source, target)
        source.unlink()
    else:
        source.replace(target)
    _sync_folder(target.parent)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: look first, which is nearly as good
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        shutil.copyfile(source, target)


def clear_partials(folder: str | Path, name: str = "*", older_than: float = 0.0) -> list[Path]:
    """Remove the partial files and folders that killed processes left in a folder.

    Args:
        folder: it need not be there.
        name: of the file or folder that they were writing, "*" for any.
        older_than: seconds since the last write, in a folder since the last entry made or removed at its top; above 0 where
            another process may be writing.

    Returns:
        What was removed.
    """
    found = []
    for path in sorted(Path(folder).glob(f".*{_PARTIAL}")) if Path(folder).is_dir() else []:
        written, _, token = path.name[1:].removesuffix(_PARTIAL).rpartition(".")
        if not token or name not in ("*", written):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process was first
            if time.time() - path.lstat().st_mtime >= older_than:
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
