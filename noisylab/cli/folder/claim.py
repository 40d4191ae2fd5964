"""Decides which folders noisylab may write to or replace, and replaces one run with another."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from noisylab.checkpoints.atomic import newest_readable
from noisylab.cli.errors import UserError
from noisylab.cli.folder.lock import LOCK, FolderLock
from noisylab.cli.folder.marker import (
    MARKER,
    content,
    foreign_entries,
    has_checkpoint,
    is_part,
    is_run,
    is_series,
    mark,
    named,
    read_marker,
    won,
)
from noisylab.files import clear_partials, move, partial_name

__all__ = ["Claim", "claim", "hold", "new_default_folder", "paths_in", "waiting_for"]

_ENVIRONMENT = ("NOISYLAB_DATA", "NOISYLAB_CACHE", "TORCH_HOME", "HF_HOME")

_held: dict[str, int] = {}  # folders whose lock this process has, and how often it was asked for


def paths_in(value: Any) -> Iterator[str]:
    """Every text in a configuration, any of which may be a path."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from paths_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from paths_in(item)


class Claim:
    """A folder that this command writes to, from `claim` to the end of the ``with`` block.

    A run that ends before it has begun well, that is before its first training step is done, leaves what was there before:
    nothing, or the run that it was to replace. That one is kept beside the folder, under a name made of its own random number,
    until then; a command that finds it there after a kill puts it back.

    Args:
        path: as the user gave it; where it leads through links is found out once.
        command: for the marker.

    Attributes:
        path: of the folder.
        checkpoint: to continue from; None for a new run.
        replaces: whether `prepare` takes the place of a run.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.path, self.command = path, command
        self.real = Path(os.path.realpath(path))
        self.checkpoint: Path | None = None
        self.replaces = self.begun = False
        self._made: list[Path] = []
        self._lock: FolderLock | None = None
        self._aside: tuple[Path, FolderLock] | None = None
        self._active = self._wipe = self._touched = self._series = False

    def __enter__(self) -> Claim:
        """Return the claim."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Release the folder, unchanged if nothing has begun."""
        self.release()

    # ---- what the training command does, in this order

    def spare(self, values: Iterable[str]) -> None:
        """Refuse to replace a folder that holds anything this command reads or writes.

        Args:
            values: texts that may be paths.

        Raises:
            UserError: naming the path.
        """
        if not self.replaces:
            return
        for text in [*values, *(os.environ.get(name, "") for name in _ENVIRONMENT)]:
            if not text or len(text) > 4096 or "\0" in text or not os.path.lexists(text):
                continue
            if Path(os.path.realpath(text)).is_relative_to(self.real) or _lies_in(Path(text), self.real):
                raise UserError(
                    f"--overwrite would delete {text}, which is in --run_dir {self.path} and belongs to this command\n"
                    "  move or copy it elsewhere, or name another --run_dir"
                )

    def prepare(self) -> None:
        """Make room for a new run, once its data has been read and its configuration checked."""
        if not self._active or self.checkpoint is not None:
            return
        if self.replaces:
            self._move_aside()
        elif self._wipe:
            self._touched = True
            _empty(self.real)
            mark(self.real, self.command)
        clear_partials(self.real)

    def begin(self) -> None:
        """Delete the run that is being replaced, once the new one has begun successfully."""
        self.begun = True
        if self._active:
            clear_partials(self.real)  # of the process that the run was killed with, where it is resumed
        if self._aside is not None:
            (aside, lock), self._aside = self._aside, None
            _discard(aside)
            lock.drop(None)
        if self._active and self.checkpoint is not None and read_marker(self.real) is None:
            mark(self.real, self.command)  # a run of an older version

    def release(self) -> None:
        """Release the lock; undo what was done for a run that has not begun."""
        if not self._active:
            return
        self._active = False
        if not (self.begun or self.checkpoint is not None or has_checkpoint(self.real)):
            self._undo()
        self._unlock()
        for folder in self._made if not self.begun else []:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    # ---- claiming

    def _take(self, resume: bool, overwrite: bool, series: bool) -> None:
        self._active, self._series = True, series
        if not self.real.exists():
            _restore_missing(self.real, self.path)
        if self.real.exists() and not self.real.is_dir():
            raise UserError(f"--run_dir {self.path} is not a folder; name one, or a new name")
        if resume:
            self._take_to_resume()
            if series:
                self.begun = True
            else:
                self._find_checkpoint()
            return
        self._spare_whole()
        if not self.real.exists():
            self._make()
        if not content(self.real) or is_run(self.real):
            self._take_lock()
            self._recover()
        if not content(self.real):
            self._touched = True
            mark(self.real, self.command)
        else:
            self._decide(overwrite)

    def _spare_whole(self) -> None:
        """Refuse a new run in the place of a part of another: a fold of a series, or the folds that a list of issues rests on."""
        whole = self.real.parent
        if str(whole) in _held or not is_part(self.real):  # held by the command that trains all the parts
            return
        shown = self.path.parent if self.path.name == self.real.name else whole
        command = "folds" if is_series(whole) else "issues"
        raise UserError(
            f"--run_dir {self.path} is where noisylab {command} keeps a part of {shown}; a separate run here would break it\n"
            f"  continue all of it: noisylab {command} --run_dir {shown} --resume; to train it from scratch, repeat the command\n"
            "  that started it, with --overwrite; or name another folder"
        )

    def _decide(self, overwrite: bool) -> None:
        """What may be done to a folder that is not empty, locked if it is a run's."""
        own = is_run(self.real)
        foreign = foreign_entries(self.real)
        if own and not foreign and not won(self.real):
            self._wipe = True
            return
        if not overwrite:
            more = "" if own else " and holds files that noisylab did not write; nothing in it was changed"
            ways = "add --resume to continue it, --overwrite to replace it, or name another" if own else "name another folder"
            raise UserError(f"--run_dir {self.path} is not empty{more}\n  {ways}")
        if not own and not foreign and (self.real / "config.yaml").exists():
            raise UserError(
                f"--run_dir {self.path} cannot be identified as a run of noisylab: it has no file {MARKER}, which older "
                "versions did not write\n  delete it yourself, or name another folder"
            )
        if not own:
            raise UserError(
                f"--run_dir {self.path} holds no run of noisylab; --overwrite would delete other files{named(foreign)}. "
                "Name another folder"
            )
        if is_series(self.real) != self._series:
            held, wanted = ("the folds of a series", "noisylab folds") if is_series(self.real) else ("no folds", "noisylab fit")
            raise UserError(
                f"--run_dir {self.path} holds {held}; only {wanted} replaces it with --overwrite\n"
                "  delete it yourself, or name another"
            )
        if foreign:
            raise UserError(
                f"--run_dir {self.path} holds files that noisylab did not write{named(foreign)}\n"
                "  move them elsewhere, or name another folder: --overwrite deletes only runs"
            )
        for place, what in ((Path.cwd(), "the working directory"), (Path.home(), "the home directory")):
            if Path(os.path.realpath(place)).is_relative_to(self.real):
                raise UserError(f"--run_dir {self.path} is {what} or holds it; --overwrite would delete it. Name another folder")
        if os.path.ismount(self.real):
            raise UserError(f"--run_dir {self.path} is a mounted disk, which cannot be replaced; name a folder in it")
        self.replaces = True

    def _take_to_resume(self) -> None:
        if any((self.real / name).exists() for name in (MARKER, "checkpoints", "config.yaml")):
            self._take_lock()
            self._recover()

    def _find_checkpoint(self) -> None:
        last, best = (self.path / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
        try:
            self.checkpoint, damage = newest_readable(last, best)
        except FileNotFoundError as error:
            if not self.real.exists():
                raise UserError(f"--run_dir {self.path}: there is no run to continue; leave --resume out to start one") from error
            way = "with --overwrite in place of --resume" if won(self.real) else "with the same command without --resume"
            raise UserError(f"{error}, {way}") from error
        if damage and self._active:
            with contextlib.suppress(OSError):
                print(f"{damage}; continuing from {self.checkpoint.name}", file=sys.stderr, flush=True)

    def _make(self) -> None:
        for folder in (self.real, *self.real.parents):
            if folder.exists():
                break
            self._made.append(folder)
        try:
            self.real.mkdir(parents=True, exist_ok=True)  # the lock says whose it is
        except OSError as error:
            raise UserError(f"--run_dir {self.path} cannot be created ({error.strerror}); name another folder") from error

    def _take_lock(self) -> None:
        key = str(self.real)
        if _held.get(key, 0) == 0:
            self._lock = FolderLock.take(self.real, self.path)
        _held[key] = _held.get(key, 0) + 1

    def _unlock(self) -> None:
        key = str(self.real)
        if self._lock is None and key not in _held:
            return
        _held[key] = _held.get(key, 1) - 1
        if _held[key] <= 0:
            del _held[key]
        if self._lock is not None:
            self._lock.drop(self.real)
            self._lock = None

    # ---- replacing

    def _move_aside(self) -> None:
        found = read_marker(self.real) or mark(self.real, self.command)
        aside = _aside_of(self.real, found["id"])
        fresh = partial_name(self.real)
        fresh.mkdir()
        lock = FolderLock.take(fresh, self.path)
        mark(fresh, self.command)
        try:
            move(self.real, aside)
        except OSError as error:
            lock.drop(fresh)
            shutil.rmtree(fresh)
            raise UserError(
                f"--run_dir {self.path} cannot be moved out of the way ({error.strerror}); delete it yourself, or name another"
            ) from error
        old, self._lock = self._lock, lock
        assert old is not None
        self._aside = (aside, old)
        try:
            move(fresh, self.real)
        except OSError as error:
            self._aside, self._lock = None, None
            old.drop(None)
            lock.drop(fresh)
            shutil.rmtree(fresh)
            raise UserError(f"{self.path} was taken by another process; the previous run is kept in {aside}") from error

    def _undo(self) -> None:
        if self._aside is not None:
            (aside, old), self._aside = self._aside, None
            if not aside.exists():
                return
            gone = _condemn(self.real)
            move(aside, self.real)
            assert self._lock is not None
            self._lock.drop(None)
            self._lock = old
            shutil.rmtree(gone, ignore_errors=True)
        elif self._touched and self.real.is_dir() and not foreign_entries(self.real) and not won(self.real):
            _empty(self.real, but=(LOCK,))

    def _recover(self) -> None:
        """Finish or take back a replacement that a kill has interrupted."""
        aside = _find_aside(self.real)
        if aside is not None and has_checkpoint(self.real):
            _discard(aside)
        elif aside is not None:
            gone = _condemn(self.real)
            move(aside, self.real)
            if self._lock is not None:
                self._lock.drop(gone)
                self._lock = FolderLock.take(self.real, self.path)
            shutil.rmtree(gone, ignore_errors=True)
            _say_restored(self.path)
        clear_partials(self.real.parent, self.real.name)


def claim(
    folder: Path,
    command: str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    first: bool = True,
    series: bool = False,
    made: bool = False,
) -> Claim:
    """Check a run folder, and reserve it for this process until the end of the ``with`` block.

    A folder that is not there is made, with the marker that says whose it is. One that holds a run is refused unless it is to be
    continued or replaced, or nothing of the run was saved yet; nothing in it is changed before `Claim.prepare`.

    Args:
        folder: as given.
        command: of noisylab.
        resume: continue the run in it.
        overwrite: replace the run in it.
        first: False in a process that the first one of the run has started, which leaves all this to that one.
        series: it holds the folders of several runs; there is no checkpoint to continue from.
        made: this command has just made it (`new_default_folder`), and removes it again if nothing comes of the run.

    Raises:
        UserError: for a folder that may not be used so, or that another process uses.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one")
    found = Claim(folder, command)
    if not first:
        if resume:
            found._find_checkpoint()
        return found
    try:
        found._made = [found.real, *found.real.parents[:2]] if made else []
        found._take(resume, overwrite, series)
    except BaseException:
        found._active = False
        if found._touched:  # Ctrl-C after the marker
            found._undo()
        found._unlock()
        for parent in found._made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    return found


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock an existing folder; nothing in it changes except that leftover partial files are removed."""
    found = Claim(folder, "")
    found._take_lock()
    try:
        clear_partials(found.real)
        yield
    finally:
        found._unlock()


def new_default_folder(name: str) -> Path:
    """Create a new folder ``runs/NAME/TIME``.

    Args:
        name: of the recipe or method.
    """
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, count = Path("runs") / name / stamp, 1
    while True:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
        except FileNotFoundError:  # another command has just removed the empty folder above
            continue
        except FileExistsError:  # another run of this second
            folder, count = folder.with_name(f"{stamp}-{count}"), count + 1


# ---- moving and removing


def _aside_of(real: Path, number: str) -> Path:
    return real.with_name(f".{real.name}.{number}.replaced")


def _find_aside(real: Path) -> Path | None:
    """The run that was moved aside for one that never began; its name has its own number."""
    for path in sorted(real.parent.glob(".*.replaced")) if real.parent.is_dir() else []:
        number = path.name.removesuffix(".replaced").rpartition(".")[2]
        found = read_marker(path) if path == _aside_of(real, number) and path.is_dir() and not path.is_symlink() else None
        if found is not None and found["id"] == number:
            return path
    return None


def waiting_for(folder: Path) -> Path | None:
    """The run that was moved aside from `folder` for one that a kill stopped before it began; `fit --resume` puts it back."""
    real = Path(os.path.realpath(folder))
    return None if real.exists() else _find_aside(real)


def _restore_missing(real: Path, shown: Path) -> None:
    aside = _find_aside(real)
    if aside is not None:
        with contextlib.suppress(FileNotFoundError):  # another process was first
            lock = FolderLock.take(aside, shown)
            move(aside, real)
            lock.drop(real)
            _say_restored(shown)


def _say_restored(folder: Path) -> None:
    with contextlib.suppress(OSError):
        print(f"{folder}: its replacement was stopped before it began; the previous run is restored", file=sys.stderr, flush=True)


def _condemn(folder: Path) -> Path:
    """Rename what is to go, so that whatever happens it is never taken for a run."""
    gone = partial_name(folder)
    move(folder, gone)
    return gone


def _discard(aside: Path) -> None:
    name = aside.name.removeprefix(".").removesuffix(".replaced").rpartition(".")[0]
    gone = partial_name(aside.with_name(name))
    move(aside, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _empty(folder: Path, but: tuple[str, ...] = (LOCK, MARKER)) -> None:
    """Remove what is in a folder; the marker last, so that a kill in between leaves a folder that is known."""
    names = [path.name for path in folder.iterdir() if path.name not in (*but, MARKER)]
    for name in [*names, *([MARKER] if MARKER not in but else [])]:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether the name itself lies in `folder`, wherever it leads."""
    return (Path(os.path.realpath(path.parent)) / path.name).is_relative_to(folder)
