"""What is known of a cell beside its run folder: who trains it, how often it was begun, why it failed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from noisylab.checkpoints.atomic import newest_readable
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.studyplan import Cell
from noisylab.cli.errors import UserError
from noisylab.cli.folder.lock import FolderLock
from noisylab.files import atomic_path, clear_partials
from noisylab.reports import RunFolder, RunFolderError, read_run

__all__ = ["CELLS", "CellState", "finished_run", "is_damaged", "state_of", "taken", "way_to_train"]

CELLS = ".cells"
"""The folder within a study of what is known of its cells."""

_STATE = "state.json"


@dataclass(frozen=True)
class CellState:
    """A note about a cell, kept in the file ``.cells/<slug>/state.json`` of the study.

    Args:
        state: "running", "stopped" (to be continued), "failed" or "finished"; "waiting" where nothing is known.
        attempts: how often training was begun.
        kills: how often in a row its process has gone without a word.
        message: why it failed.
        pid: process that wrote this.
        host: its machine.
        since: when, seconds since 1970.
    """

    state: Literal["waiting", "running", "stopped", "failed", "finished"] = "waiting"
    attempts: int = 0
    kills: int = 0
    message: str = ""
    pid: int = 0
    host: str = ""
    since: float = 0.0

    def changed(self, state: Literal["running", "stopped", "failed", "finished"], message: str = "") -> CellState:
        """The note of this process, now."""
        begins = state == "running"
        return replace(
            self,
            state=state,
            message=message,
            attempts=self.attempts + begins,
            kills=self.kills if begins else 0,  # what has ended in order was not killed
            pid=os.getpid(),
            host=socket.gethostname(),
            since=time.time(),
        )

    def write(self, study: Path, cell: Cell) -> None:
        """Keep it.

        Args:
            study: folder of the study.
            cell: whose state it is.
        """
        with atomic_path(study / CELLS / cell.slug / _STATE) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def state_of(study: Path, cell: Cell) -> CellState:
    """What was noted of a cell; a note that cannot be read counts as none."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return CellState(**json.loads((study / CELLS / cell.slug / _STATE).read_text(encoding="utf-8")))
    return CellState()


@contextlib.contextmanager
def taken(study: Path, cell: Cell) -> Iterator[bool]:
    """Take a cell for this process until the end of the ``with`` block; False where another process has it."""
    place = study / CELLS / cell.slug
    place.mkdir(parents=True, exist_ok=True)
    try:
        lock = FolderLock.take(place, place)
    except UserError:
        yield False
        return
    try:
        clear_partials(place)
        yield True
    finally:
        lock.drop(place)


def finished_run(place: Path) -> RunFolder | None:
    """The run of a cell, if it has come to its end and can be read; None otherwise, as when it is damaged."""
    if not (place / "summary.json").is_file():
        return None
    try:
        run = read_run(place)
    except (RunFolderError, OSError):
        return None
    return run if run.complete else None


def is_damaged(place: Path) -> bool:
    """Whether a run that has come to an end, or to a pause, cannot be read."""
    if not (place / "summary.json").is_file():
        return False
    try:
        read_run(place)
    except (RunFolderError, OSError):
        return True
    return False


def way_to_train(place: Path) -> dict[str, str]:
    """The flag with which a cell's run is trained: none for a new one, ``resume`` where there is a checkpoint to continue from,
    ``overwrite`` where what is there is of no use."""
    if not place.exists() or not any(place.iterdir()):
        return {}
    try:
        load_yaml(text_of(place / "config.yaml"), "config.yaml")
        newest_readable(place / "checkpoints" / "last.ckpt", place / "checkpoints" / "best.ckpt")
    except (OSError, UserError, ValueError, RuntimeError):
        return {"overwrite": "true"}
    return {"resume": "true"}
