"""What changes for a command where a launcher has started it as several processes, perhaps on several machines."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import Claim
from noisylab.cli.folder.marker import read_marker
from noisylab.cli.launch import first_process, how_started
from noisylab.cli.running.meeting import Meeting, current_meeting
from noisylab.terminal import visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["all_ready", "check_alone", "is_needed", "one_folder", "rank_timeout", "undisturbed"]

_SECONDS = 120.0  # without a sign of life, after which a process is gone
_LEAST = 5.0
_APPEARS = 15.0  # seconds in which what one machine writes appears on another that shares the storage
_STEP = 0.2


def rank_timeout(options: Options) -> float:
    """The seconds of ``--rank_timeout``.

    Raises:
        UserError: for anything but a number of at least five seconds.
    """
    text = options.own.get("rank_timeout", str(_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST <= seconds < float("inf"):
        raise UserError(f"--rank_timeout: expected a number of seconds, {_LEAST:g} or more, got {text!r}")
    return seconds


def check_alone(options: Options) -> None:
    """Refuse a command that works in one process, where a launcher has started several.

    Raises:
        UserError: with what to do instead.
    """
    world = how_started().world
    crossfit = "crossfit" in options.own
    if world == 1 or not (options.command in ("predict", "folds", "study") or crossfit):
        return
    what = f"noisylab {options.command}" + " --crossfit" * crossfit
    instead = {
        "predict": "start it without torchrun or srun, or with one process: each of several would have a share of the rows",
        "folds": "with several, train each fold by itself: noisylab fit ... --data.folds K --data.fold 0 --run_dir DIR/fold0\n"
        "  and then print the table in one process: noisylab folds --run_dir DIR --resume",
        "study": "with several, train each run by itself: noisylab fit --config RECIPE --row ROW --seed_everything SEED",
    }
    way = instead.get(options.command, "leave --crossfit out, or start it without torchrun or srun")
    raise UserError(f"{what} works in one process, and a launcher has started {world}\n  {way}")


def is_needed(options: Options) -> bool:
    """Whether this process has something to do: what is printed without training is printed by the first one."""
    return first_process() or not {"dry_run", "print_config"} & set(options.own)


def one_folder(meeting: Meeting, claimed: Claim | None, command: str) -> Claim:
    """The folder that the first process has claimed, in every process.

    Args:
        meeting: of the processes.
        claimed: in the first one.
        command: of noisylab.

    Raises:
        UserError: where the run is to be continued and its folder is not visible to all, naming the machines.
    """
    told = None
    if claimed is not None:
        marker, found = read_marker(claimed.real), claimed.checkpoint
        told = {
            "path": str(claimed.real),
            "id": None if marker is None else marker["id"],
            "checkpoint": None if found is None else str(found.absolute()),
        }
    told = meeting.tell("its run folder", told)
    folder, checkpoint = Path(told["path"]), told["checkpoint"]
    mine = claimed
    if mine is None:
        mine = Claim(folder, command)
        mine.checkpoint = None if checkpoint is None else Path(checkpoint)
    sees = claimed is not None or _appears(folder, told["id"], mine.checkpoint)
    seen = meeting.gather("whether it sees the run folder", sees)
    if all(seen):
        return mine
    blind = ", ".join(meeting.name(rank) for rank, found in enumerate(seen) if not found)
    where = f"the run folder {folder} of {meeting.name(0)} is not visible to {blind}"
    if checkpoint is not None:
        raise UserError(
            f"--resume: {where}\n"
            "  every process reads the configuration and the checkpoint: put the folder on storage that all machines share,\n"
            "  or copy it to the same place on each of them"
        )
    if meeting.rank == 0:
        how = "to continue the run on several machines, every one has to see the folder, under the same path"
        print(visible(f"note: {where}\n  the first process alone writes there; {how}"), file=sys.stderr, flush=True)
    return mine


def _appears(folder: Path, number: str | None, checkpoint: Path | None) -> bool:
    """Whether this process sees what the first one does; shared storage may take its time."""
    until = time.monotonic() + _APPEARS
    while True:
        with contextlib.suppress(OSError):
            marker = read_marker(folder)
            same = number is None or (marker is not None and marker["id"] == number)
            if same and folder.is_dir() and (checkpoint is None or checkpoint.is_file()):
                return True
        if time.monotonic() > until:
            return False
        time.sleep(_STEP)


def all_ready() -> None:
    """Wait until every process has read its data and can train or evaluate; the first one that cannot is named in all."""
    meeting = current_meeting()
    if meeting is not None:
        meeting.gather("whether it is ready")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Not ended by SIGTERM, which launchers send to the processes that are left, for the seconds that a message takes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
