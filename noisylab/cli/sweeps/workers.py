"""Several workers of a sweep on one machine, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from noisylab.cli.running.session import say

__all__ = ["WORKER", "run_workers"]

WORKER = "NOISYLAB_SWEEP_WORKER"
"""Environment variable of a process that `run_workers` has started."""

_REPLACED = 3  # workers that are started for such as were killed
_PATIENCE = 60.0  # seconds in which workers must have saved and stopped
_POLL = 0.2


def run_workers(folder: Path, jobs: int, flags: Sequence[str]) -> int:
    """Start workers and wait for them; one that is killed is replaced, a few times.

    Args:
        folder: of the sweep.
        jobs: number of workers.
        flags: further flags of their command.

    Returns:
        The exit status: 0 where all came to their end, else that of the first that did not.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the workers have saved and stopped.
    """
    command = [sys.executable, "-m", "noisylab", "sweep", "--run_dir", str(folder), "--resume", "--jobs", "1", *flags]
    running = [_start(command, number, jobs) for number in range(jobs)]
    status, replaced = 0, 0
    try:
        with _passed_on():
            while running:
                time.sleep(_POLL)
                for process in [process for process in running if process.poll() is not None]:
                    running.remove(process)
                    code = process.returncode
                    if code < 0 and replaced < _REPLACED:
                        replaced += 1
                        say(f"a worker was killed ({_signal(-code)}); another one takes its place", sys.stderr)
                        running.append(_start(command, jobs + replaced - 1, jobs))
                    elif code:
                        status = status or (128 - code if code < 0 else code)
    except KeyboardInterrupt:
        _end(running)
        raise
    return status


def _start(command: Sequence[str], number: int, jobs: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, WORKER: f"{number + 1} of {jobs}"}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment.setdefault("OMP_NUM_THREADS", str(threads))  # else each takes all cores
    devices = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if len(devices) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return subprocess.Popen(command, env=environment)


@contextmanager
def _passed_on() -> Iterator[None]:
    """Take a request to terminate like Ctrl-C, which the workers do not hear of by themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let workers save and stop; Ctrl-C of a terminal has reached them already, and once more changes nothing."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + _PATIENCE
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
