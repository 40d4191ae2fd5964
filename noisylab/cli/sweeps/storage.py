"""Where the trials of a sweep are kept: a journal in its folder, or a database; waits where another process has it locked."""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from noisylab.cli.errors import UserError, short
from noisylab.cli.running.session import say

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["JOURNAL", "StorageLocked", "lasting_storage", "open_storage", "patient", "require_optuna"]

JOURNAL = "trials.journal"
"""The file in a sweep's folder to which Optuna's journal is written."""

_DATABASE = "trials.db"
_GRACE = 30  # seconds without a change after which the journal's lock is taken for left behind
_WAITS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # seconds between the tries
_SQLITE_WAIT = 10  # seconds that each try waits by itself
_LOCKED = re.compile(
    r"(database|table) (\S+ )?is locked|deadlock detected|could not serialize|Lock wait timeout|too many (clients|connections)"
    r"|server closed the connection|could not connect|Connection refused",
    re.I,
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")

_T = TypeVar("_T")


class StorageLocked(UserError):
    """The storage stayed locked for longer than anyone waits; no fault of the trial that was to be noted."""


def require_optuna() -> None:
    """Refuse a sweep where Optuna is not installed.

    Raises:
        UserError: naming the extra.
    """
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "optuna":
            raise
        raise UserError('noisylab sweep needs Optuna: pip install "noisylab[sweep]"') from error


def lasting_storage(storage: str, where: str = "--storage") -> str:
    """A storage as the plan keeps it: a file of SQLite by its absolute path.

    Args:
        storage: "journal", "sqlite" or a URL, in which ``${NAME}`` stands for a variable of the environment.
        where: for errors.

    Raises:
        UserError: for what is none of these, or a URL with a password, which would be written into the folder.
    """
    if storage in ("journal", "sqlite"):
        return storage
    if "://" not in storage or storage.startswith("redis"):
        raise UserError(
            f"{where} {storage}: expected journal (the default), sqlite, or the URL of a database, such as "
            "sqlite:///sweep.db or postgresql://USER@HOST/NAME"
        )
    password = re.search(r"://[^/@]*:([^/@]+)@", storage)
    if password is not None and not _VARIABLE.fullmatch(password[1]):
        raise UserError(
            f"{where}: a password in the URL would be kept in the folder of the sweep\n"
            f"  write {storage.replace(f':{password[1]}@', ':${DB_PASSWORD}@')} and set the variable DB_PASSWORD"
        )
    file = storage.removeprefix("sqlite:///")
    if file != storage and file and not Path(file).is_absolute():
        return f"sqlite:///{Path.cwd() / file}"
    return storage


def open_storage(storage: str, folder: Path) -> BaseStorage:
    """The storage of a sweep.

    Args:
        storage: see `lasting_storage`.
        folder: of the sweep.

    Raises:
        UserError: for a database that cannot be opened, or a journal that is damaged.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if storage == "journal":
        # by open, not by a link: also on Windows, and a link's time of change is that of the file it leads to
        file = str(folder.absolute() / JOURNAL)
        lock = JournalFileOpenLock(file, grace_period=_GRACE)
        _tell_of_lock(Path(f"{file}.lock"))
        _mend(Path(file), lock)
        try:
            return JournalStorage(JournalFileBackend(file, lock_obj=lock))
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{file} is damaged ({short(error, 1)}): the trials in it cannot be read\n"
                "  start another sweep; the folders of the finished trials stay what they are"
            ) from error
    url = f"sqlite:///{folder.absolute() / _DATABASE}" if storage == "sqlite" else _filled(storage)
    options: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_WAIT}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return patient(lambda: RDBStorage(url, engine_kwargs=options), storage)
    except UserError:
        raise
    except ImportError as error:
        driver = error.name or "its driver"
        raise UserError(f"storage {storage} needs a package that is not installed: {driver}; pip install it") from error
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy", "optuna", "alembic")):
            raise
        raise UserError(f"storage {storage} cannot be opened: {short(error, 2)}") from error


def patient(action: Callable[[], _T], storage: str, waits: tuple[float, ...] = _WAITS) -> _T:
    """Do something with a storage, again after a while where another process has it locked.

    Args:
        action: what is done; it may be repeated.
        storage: as the user knows it, for the error.
        waits: seconds between the tries; each is drawn anew from a half of it to the whole.

    Raises:
        StorageLocked: where it is still locked after the last try.
    """
    started = time.monotonic()
    for pause in (*waits, None):
        try:
            return action()
        except Exception as error:
            found = _locked(error)
            if not found:
                raise
            if pause is None:
                raise StorageLocked(
                    f"storage {storage}: {found}, for {time.monotonic() - started:.0f} seconds and {len(waits) + 1} tries\n"
                    "  another process keeps it locked, or it cannot be reached; see to that, then continue with --resume.\n"
                    "  SQLite is not made for network file systems or many workers: there, take the journal"
                ) from error
            time.sleep(pause * random.uniform(0.5, 1.0))  # not all workers at once
    raise AssertionError


def _locked(error: BaseException | None) -> str:
    """What an error, or the one that caused it, says of a lock or a lost connection; empty for other errors."""
    while error is not None:
        if isinstance(error, Exception) and type(error).__module__.startswith(("sqlalchemy", "sqlite3", "optuna", "psycopg")):
            match = _LOCKED.search(str(error))
            if match is not None:
                return match[0]
        error = error.__cause__ or error.__context__
    return ""


def _filled(url: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(f"storage {url}: the variable {match[1]} is not set in the environment")
        return os.environ[match[1]]

    return _VARIABLE.sub(value, url)


def _tell_of_lock(lock: Path) -> None:
    """Say that the journal is locked by what may have been killed; Optuna takes such a lock away after a while."""
    try:
        age = time.time() - lock.stat().st_mtime
    except OSError:
        return
    if age > 5:  # a write takes milliseconds
        say(
            f"note: {lock} is {age:.0f} seconds old, so a worker was probably killed while it held the lock; it is taken away "
            f"after {_GRACE} seconds",
            sys.stderr,
        )


def _mend(journal: Path, lock: Any) -> None:
    """Cut off the end of a journal whose last line was not written to its end: nobody has read it yet.

    Args:
        journal: the file.
        lock: Optuna's lock on it.
    """
    if not _is_cut(journal):
        return
    lock.acquire()
    try:
        if _is_cut(journal):
            content = journal.read_bytes()
            whole = content.rfind(b"\n") + 1
            os.truncate(journal, whole)
            say(
                f"note: {journal} ended in the middle of a line, as after a crash; its {len(content) - whole} bytes are cut off",
                sys.stderr,
            )
    finally:
        lock.release()


def _is_cut(journal: Path) -> bool:
    try:
        with journal.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return False
            file.seek(size - 1)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False
