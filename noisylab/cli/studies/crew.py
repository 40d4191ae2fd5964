"""Several processes of this machine that train the cells of one study, and the one that watches over them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from noisylab.cli.configuration.studyplan import Cell, Plan
from noisylab.cli.folder.lock import abandoned
from noisylab.cli.running.session import say
from noisylab.cli.running.workers import Workers, signal_name
from noisylab.cli.studies.state import CELLS, CellState, finished_run, state_of

__all__ = ["WORKER", "Crew", "worker_since"]

WORKER = "NOISYLAB_STUDY_WORKER"
"""The variable by which a process knows that it is a worker: when the command began, in seconds since 1970."""

_LOGS = "workers"
_POLL = 0.5  # seconds
_MOST_STARTS = 3  # so often a worker in a row may end before it has trained anything


def worker_since() -> float | None:
    """When the command that started this worker began; None in a process that is no worker."""
    text = os.environ.get(WORKER)
    return None if text is None else float(text)


class Crew:
    """Workers, each of which trains one cell of a study after the other.

    One whose process is killed, as by the system when memory is short, is replaced; the cell it was at counts as failed. Signals
    are handed on, so that every worker saves before it ends; if this process is killed, they end by themselves.

    Args:
        plan: of the study.
        folder: of the study.
        jobs: number of workers.
        arguments: further arguments of ``noisylab study`` for each, as loggers.
        environment: variables; default this process's.
    """

    def __init__(
        self, plan: Plan, folder: Path, jobs: int, arguments: Sequence[str] = (), environment: Mapping[str, str] = os.environ
    ) -> None:
        self.plan, self.folder = plan, folder
        self._workers, self._arguments = Workers(min(jobs, len(plan.cells)), environment), list(arguments)
        self._since = time.time()
        self._said: dict[str, str] = {}
        self._idle: dict[int, int] = {}  # how often a worker's place was filled in vain

    def run(self) -> int:
        """Train; returns 0 if all cells are finished, 1 if some failed, and 128 and the number of a signal that ended it."""
        (self.folder / _LOGS).mkdir(exist_ok=True)
        jobs = self._workers.jobs
        say(f"{jobs} worker{'s' * (jobs > 1)}; what they print is in {self.folder / _LOGS}", sys.stdout)
        with self._workers.hearing():
            for number in range(jobs):
                self._start(number)
            while self._workers:
                time.sleep(_POLL)
                self._tell()
                for number, process in self._workers.ended():
                    self._ended(number, process.pid, process.returncode)
        self._tell()
        go_on = f"continue the study with: noisylab study --run_dir {self.folder} --resume"
        if self._workers.asked:
            say(go_on, sys.stderr)
            return 128 + self._workers.asked
        failed = [cell for cell in self.plan.cells if not self._done(cell)]
        if failed:
            say(f"{len(failed)} of {len(self.plan.cells)} runs are not finished; {go_on}", sys.stderr)
        return 1 if failed else 0

    def _done(self, cell: Cell) -> bool:
        return finished_run(self.folder / cell.folder) is not None

    def _log(self, number: int) -> Path:
        return self.folder / _LOGS / f"worker{number}.log"

    def _start(self, number: int) -> None:
        arguments = ["study", "--run_dir", str(self.folder), "--resume", *self._arguments]
        self._workers.start(number, arguments, {WORKER: repr(self._since)}, self._log(number))

    def _ended(self, number: int, pid: int, status: int) -> None:
        """Note what has become of a worker; start another where its end was not in order and cells are left."""
        if self._workers.asked:
            at = self._cell_of(pid)
            if at is not None:  # the signal came before its training had begun
                at[1].changed("stopped").write(self.folder, at[0])
            return
        if status in (0, 1):
            return
        ended = f"{signal_name(-status)} (signal {-status})" if status < 0 else f"exit status {status}"
        at = self._cell_of(pid)
        if at is not None:
            cell, state = at
            killed = status == -getattr(signal, "SIGKILL", 9)
            why = ", as the system does when memory is short" if killed else f"; see {self._log(number)}"
            noted = replace(state, state="failed", message=f"its process was ended by {ended}{why}", since=time.time())
            noted.write(self.folder, cell)
        self._idle[number] = 0 if at is not None else self._idle.get(number, 0) + 1
        left = [cell for cell in self.plan.cells if not self._done(cell) and self._open(cell)]
        if left and self._idle[number] < _MOST_STARTS:
            self._start(number)
        elif left:
            say(f"a worker ended by {ended} before it trained anything; see {self._log(number)}", sys.stderr)

    def _open(self, cell: Cell) -> bool:
        """Whether a worker would take a cell that is not finished."""
        state = state_of(self.folder, cell)
        return state.state != "failed" or state.since < self._since

    def _cell_of(self, pid: int) -> tuple[Cell, CellState] | None:
        """The cell that a worker, which has ended, was at."""
        for cell in self.plan.cells:
            state = state_of(self.folder, cell)
            if state.state == "running" and state.pid == pid and abandoned(self.folder / CELLS / cell.slug):
                return cell, state
        return None

    def _tell(self) -> None:
        """Say what has become of cells since the last time."""
        for number, cell in enumerate(self.plan.cells, 1):
            if self._said.get(cell.slug) == "finished":
                continue
            state = state_of(self.folder, cell)
            if state.since < self._since or self._said.get(cell.slug) == state.state:
                continue
            self._said[cell.slug] = state.state
            name = f"run {number} of {len(self.plan.cells)} ({cell})"
            if state.state == "failed":
                say(f"{name} ended with an error; the others continue: {state.message}", sys.stderr)
            elif state.state in ("finished", "stopped"):
                seconds = self._seconds(cell) if state.state == "finished" else ""
                say(f"{name} is {state.state}{seconds}", sys.stdout)

    def _seconds(self, cell: Cell) -> str:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            summary = json.loads((self.folder / cell.folder / "summary.json").read_text(encoding="utf-8"))
            return f", {float(summary['wall_time_s']):.0f} s"
        return ""
