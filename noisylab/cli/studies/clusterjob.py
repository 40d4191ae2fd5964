"""What a job of a cluster does for a study: one worker, which takes the next free cell until none is left.

It is pickled by submitit and read again on another machine, so it holds plain values alone and imports nothing slow.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["StudyWorker", "worker_environment"]

_POLL = 0.2  # seconds
_PREEMPTED = 600.0  # seconds in which SLURM does what it has announced with SIGTERM
_MOST_KILLS = 20
_LAUNCHERS = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "PMI_", "PMI2_", "PMIX_")
_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def worker_environment(environment: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The variables of a worker's process: without those by which Lightning would take a run for a part of SLURM's step.

    Args:
        environment: of the job.
        more: further variables.
    """
    kept = {name: text for name, text in environment.items() if not name.startswith(_LAUNCHERS) and name not in _RANKS}
    return {**kept, **more}


@dataclass
class StudyWorker:
    """A worker of a study as a job: ``noisylab study --run_dir FOLDER --resume`` as a process of its own.

    When the job's time is nearly up, or it is preempted and told so by submitit's signal, the process saves after its step and
    ends, and the job goes back into the queue, where it continues.

    Args:
        folder: of the study, absolute.
        directory: from which the study was begun; relative paths of its runs start there.
        variables: for the process.
        arguments: further ones of the command, as loggers.
        threads: of the process, unless the environment says how many; 0 leaves that to PyTorch.
        patience: seconds that the process has to save before it is killed.
    """

    folder: str
    directory: str
    variables: dict[str, str]
    arguments: tuple[str, ...] = ()
    threads: int = 0
    patience: float = 60.0
    _pid: int | None = field(default=None, init=False, repr=False)
    _status: int | None = field(default=None, init=False, repr=False)

    def __call__(self) -> int:
        """Train until no cell is left; returns 0 if all this worker has seen are finished, 1 if some failed.

        Raises:
            RuntimeError: where the process ends in any other way.
        """
        for _ in range(_MOST_KILLS):
            status = self._run()
            if status in (0, 1):
                return status
            if status == 128 + signal.SIGTERM:  # asked by the cluster and not by `checkpoint`: more is to come
                time.sleep(_PREEMPTED)
            if status != -signal.SIGKILL:
                raise RuntimeError(f"the worker ended with status {status}; what it printed is above")
            print("the worker's process was killed, as the system does when memory is short: another takes its place", flush=True)
        raise RuntimeError(f"the worker's process was killed {_MOST_KILLS} times")

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue: this worker, from the start; called from its signal handler."""
        from submitit.helpers import DelayedSubmission

        self._end()
        return DelayedSubmission(replace(self))

    def _run(self) -> int:
        """One process, from its start to its end."""
        self._status = None
        more = {name: str(self.threads) for name in _THREADS if self.threads and name not in os.environ}
        command = [sys.executable, "-m", "noisylab", "study", "--run_dir", self.folder, "--resume", *self.arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # by whose end it knows that this process is gone
            cwd=self.directory,
            env=worker_environment(os.environ, {**more, **self.variables}),
            start_new_session=True,
            preexec_fn=_ignore_the_signal_of_submitit,
        )
        self._pid = process.pid

        def wait() -> None:
            self._status = process.wait()

        # a thread waits, so that the signal handler, which interrupts what follows, needs no lock of it
        threading.Thread(target=wait, daemon=True).start()
        try:
            while self._status is None:
                time.sleep(_POLL)
        finally:
            assert process.stdin is not None
            process.stdin.close()
        self._pid = None
        return int(self._status)

    def _end(self) -> None:
        """End the process in order, or kill it when it takes too long: it continues from what it saved before."""
        if self._pid is None or self._status is not None:
            return
        until = time.monotonic() + self.patience
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        while self._status is None and time.monotonic() < until:
            time.sleep(_POLL)
        if self._status is None:
            print(f"not saved within {self.patience:.0f} s: the run continues from its last checkpoint", flush=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            while self._status is None:
                time.sleep(_POLL)


def _ignore_the_signal_of_submitit() -> None:
    """SLURM sends it to every process of the job, and the worker is told by SIGTERM."""
    name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)
