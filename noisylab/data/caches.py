"""Where what was computed from a user's files is kept, and the bar that is shown while it is computed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from tqdm.auto import tqdm

__all__ = ["cache_folder", "folder_of", "progress_bar", "stamp"]

_DELAY = 2.0  # seconds before a bar is shown
_MOMENT = 5.0  # seconds, beyond what file systems round times to


def cache_folder(kind: str) -> Path:
    """``$NOISYLAB_CACHE/<kind>`` or, without that variable, ``~/.cache/noisylab/<kind>``."""
    home = os.environ.get("NOISYLAB_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "noisylab") / kind


def folder_of(cache: str | None, kind: str) -> Path | None:
    """The folder of an argument `cache`: that of `cache_folder` for "auto", none for `None`."""
    if cache is None:
        return None
    return cache_folder(kind) if cache == "auto" else Path(cache)


def stamp(path: str) -> str:
    """Path, size and times of change of a file, as a digest; empty for one that is not there, and for one that changed a moment
    ago: file systems round times, so that a second change may leave all three as they are."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return ""
    if time.time() - max(status.st_mtime, status.st_ctime) < _MOMENT:
        return ""
    told = f"\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}".encode()
    return hashlib.sha256(os.fsencode(os.path.realpath(path)) + told).hexdigest()[:32]


@contextlib.contextmanager
def progress_bar(total: int, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal of the first process, if the work takes longer than two seconds.

    Args:
        total: number of things to do.
        what: shown in front of the bar.
        unit: what they are.

    Yields:
        A function that is told how many more are done.
    """
    bar = tqdm(
        total=total,
        desc=what,
        unit=unit,
        disable=True if getattr(rank_zero_only, "rank", 0) else None,  # None: only where standard error is a terminal
        delay=_DELAY,
        dynamic_ncols=True,
    )

    def advance(count: int) -> None:
        with contextlib.suppress(OSError):  # nobody reads the bar any more; the work goes on
            bar.update(count)

    try:
        yield advance
    finally:
        with contextlib.suppress(OSError):
            bar.close()
