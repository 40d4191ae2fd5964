"""A lock that lets only one process at a time work in a folder."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylab.cli.errors import UserError

__all__ = ["LOCK", "FolderLock", "abandoned"]

LOCK = ".noisylab.lock"
_HELD_BY_OTHERS = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
_BEHIND = 1 << 30  # Windows lets nobody read a locked byte, so one behind what the file says is locked


@dataclass
class FolderLock:
    """A lock on a folder, which is released when its process ends, however it ends.

    The file ``.noisylab.lock`` says whose it is; what counts is the system's own lock on it, which a killed process gives up.
    It belongs to the process that took it, not to those it starts. Where the file system has no locks, the process named in the
    file decides: one that has ended on this machine holds nothing.

    Args:
        handle: of the open file.
    """

    handle: int

    @classmethod
    def take(cls, folder: Path, shown: Path) -> FolderLock:
        """Take the lock of a folder.

        Args:
            folder: which exists.
            shown: the folder as the user knows it.

        Raises:
            UserError: naming the process that has it.
        """
        place = folder / LOCK
        while True:
            handle = os.open(place, _FLAGS, 0o666)
            try:
                _lock(handle)
            except OSError as error:
                owner = _owner(handle)
                os.close(handle)
                if error.errno in _HELD_BY_OTHERS:
                    raise _in_use(shown, owner) from None
                if _lives(owner):
                    raise _in_use(shown, owner, f"; if that process has ended, delete {place}") from None
                handle = os.open(place, _FLAGS, 0o666)
            if _same(handle, place):
                break
            os.close(handle)  # the one before has just removed its file
        command = " ".join(["noisylab", *sys.argv[1:2]])
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": command,
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(owner).encode() + b"\n")
        return cls(handle)

    def drop(self, folder: Path | None) -> None:
        """Give the lock back.

        Args:
            folder: where its file is now, which goes; None leaves it.
        """
        if folder is not None and _same(self.handle, folder / LOCK):
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
        os.close(self.handle)


def abandoned(folder: Path) -> bool:
    """Whether the process that held a folder was killed: its lock file exists, and nobody holds the lock.

    To be asked by other processes alone: the owner would lose its lock.

    Args:
        folder: of a run.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(handle)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _lock(handle: int) -> None:
    """Take the system's lock on an open file.

    Raises:
        OSError: when another process has it, or the system or the file system has no locks.
    """
    with contextlib.suppress(ImportError):
        fcntl: Any = importlib.import_module("fcntl")
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    try:
        msvcrt: Any = importlib.import_module("msvcrt")
    except ImportError:
        raise OSError(errno.ENOTSUP, "no locks on this system") from None
    os.lseek(handle, _BEHIND, os.SEEK_SET)
    msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)


def _same(handle: int, place: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), place.lstat())
    return False


def _owner(handle: int) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        os.lseek(handle, 0, os.SEEK_SET)
        owner = json.loads(os.read(handle, 4096))
        return owner if isinstance(owner, dict) else {}
    return {}


def _lives(owner: dict[str, Any]) -> bool:
    """Whether the process may still be there: certainly not where it was on this machine and is gone."""
    pid = owner.get("pid")
    if not isinstance(pid, int) or owner.get("host") != socket.gethostname():
        return bool(owner)
    if os.name == "nt":  # where this would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _in_use(shown: Path, owner: dict[str, Any], more: str = "") -> UserError:
    who = "another process"
    if owner:
        who = f"process {owner.get('pid')} on {owner.get('host')} ({owner.get('command')}, since {owner.get('since')})"
    return UserError(f"{shown} is in use by {who}{more}\n  wait for its end, stop it, or name another folder")
