"""Training processes that can be killed: forked from one that has imported everything, so that a start takes no seconds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import lightning as L

__all__ = ["SlowStep", "StepLog", "StopWithin", "child", "last_step", "steps_in", "wait_for", "wait_for_steps"]


class StepLog(L.Callback):
    """Writes a line to a file as a step begins and as it ends, without delay, so that a killed process leaves it behind.

    Args:
        path: the file, appended to.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def _write(self, what: str, step: int) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{what} {step}\n".encode())
        os.close(handle)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._write("begin", trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._write("done", trainer.global_step)


class SlowStep(L.Callback):
    """From a step on, every step takes a minute, in which Python can still answer signals.

    Args:
        after: steps that are done before the first slow one.
    """

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        until = time.monotonic() + 60
        while trainer.global_step >= self.after and time.monotonic() < until:
            time.sleep(0.01)


class StopWithin(L.Callback):
    """Sends this very process a signal as a batch begins.

    Args:
        epoch: of the batch, from 0.
        batch: its number in the epoch, from 0.
        signal_name: of the signal.
        once: a file that is made then, and after which no signal is sent any more; None sends one at every such batch.
        rank: the process that sends it; None for all.
    """

    def __init__(
        self, epoch: int, batch: int, signal_name: str = "SIGTERM", once: str | None = None, rank: int | None = None
    ) -> None:
        self.epoch, self.batch, self.number = epoch, batch, signal.Signals[signal_name]
        self.once, self.rank = None if once is None else Path(once), rank

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        mine = self.rank in (None, trainer.global_rank) and not (self.once is not None and self.once.exists())
        if mine and (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            if self.once is not None:
                self.once.touch()
            handled = callable(signal.getsignal(self.number)) or self.number == signal.SIGKILL
            assert handled, "the signal would end the test run"
            os.kill(os.getpid(), self.number)


def steps_in(log: Path) -> list[tuple[str, int]]:
    """What a `StepLog` has written: ("begin", steps before) and ("done", steps with this one)."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []  # the last line may not be whole yet
    return [(what, int(step)) for what, step in (line.split() for line in lines)]


def last_step(log: Path) -> int:
    """How many steps are done, by a `StepLog`."""
    return max((step for what, step in steps_in(log) if what == "done"), default=0)


def wait_for(process: BaseProcess, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Until `condition` holds, or the process has ended.

    Raises:
        TimeoutError: naming `what`, when neither happens.
    """
    deadline = time.monotonic() + seconds
    while process.is_alive() and not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.002)


def wait_for_steps(process: BaseProcess, log: Path, step: int) -> None:
    """Until so many steps are done, or more, or the process has ended."""
    wait_for(process, lambda: last_step(log) >= step, f"step {step}")


def _command(argv: list[str], output: str, file_size: int | None, group: bool, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    if group:
        os.setsid()
    multiprocessing.set_start_method(None, force=True)  # its own processes begin as those of a command do, not from the server
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    import torch

    from noisylab.cli import main

    torch.set_num_threads(1)
    raise SystemExit(main(argv))


@contextlib.contextmanager
def child(
    target: list[str] | Callable[..., None],
    output: Path,
    *arguments: Any,
    file_size: int | None = None,
    group: bool = False,
    variables: dict[str, str] | None = None,
) -> Iterator[Any]:
    """A process that runs the noisylab command, or a function; killed at the end of the block if it has not ended.

    Args:
        target: arguments of the command, or a function at the top of a module.
        output: where its output goes.
        *arguments: of the function.
        file_size: largest file that it can write, in bytes, as on a disk that is full.
        group: the command gets a process group of its own, with its number; what is left of it is killed, too.
        variables: of the environment of the command, in addition to those of this process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["noisylab.cli.commands.fit", "noisylab.methods", "noisylab.data", "sklearn.datasets"])
    if callable(target):
        process = context.Process(target=target, args=arguments)
    else:
        process = context.Process(target=_command, args=(target, str(output), file_size, group, variables or {}))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.join()
