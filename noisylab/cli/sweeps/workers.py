"""Several workers of a sweep on one machine, each a process of its own."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from noisylab.cli.running.session import say
from noisylab.cli.running.workers import Workers, signal_name

__all__ = ["WORKER", "run_workers"]

WORKER = "NOISYLAB_SWEEP_WORKER"
"""Environment variable of a process that `run_workers` has started."""

_REPLACED = 3  # workers that are started for such as were killed
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
    arguments = ["sweep", "--run_dir", str(folder), "--resume", "--jobs", "1", *flags]
    workers, status, replaced = Workers(jobs), 0, 0

    def start(number: int) -> None:
        workers.start(number, arguments, {WORKER: f"{number + 1} of {jobs}"})

    with workers.hearing():
        for number in range(jobs):
            start(number)
        while workers:
            time.sleep(_POLL)
            for number, process in workers.ended():
                code = process.returncode
                if code < 0 and replaced < _REPLACED and not workers.asked:
                    replaced += 1
                    say(f"a worker was killed ({signal_name(-code)}); another one takes its place", sys.stderr)
                    start(number)
                elif code:
                    status = status or (128 - code if code < 0 else code)
    if workers.asked in (signal.SIGINT, signal.SIGTERM):
        raise KeyboardInterrupt
    return status
