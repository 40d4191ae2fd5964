"""Further processes of a command on this machine: their share of it, their signals, and their end with the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

__all__ = ["Workers", "end_with_the_command", "signal_name"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_HANDED_ON = ("SIGINT", "SIGTERM", "SIGUSR1")


class Workers:
    """Processes that do the work of a command, each with its share of the cores and, where there are several, a GPU of its own.

    They are no part of the terminal's group: within `hearing`, signals are handed on, so that each saves before it ends. If
    the command itself is killed, those that call `end_with_the_command` end by themselves.

    Args:
        jobs: how many work at once.
        environment: variables; default this process's.

    Attributes:
        asked: the last signal that was handed on; 0 for none.
    """

    def __init__(self, jobs: int, environment: Mapping[str, str] = os.environ) -> None:
        self.jobs, self._environment = jobs, dict(environment)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.asked = 0

    def __len__(self) -> int:
        """How many are running, as far as `ended` has seen."""
        return len(self._running)

    def start(
        self, number: int, arguments: Sequence[str], variables: Mapping[str, str] | None = None, log: Path | None = None
    ) -> None:
        """Start one.

        Args:
            number: its place, from 0; one that takes the place of another has its number.
            arguments: of ``noisylab``.
            variables: of its environment, beyond the others.
            log: file to which what it prints is appended; None for where this process prints.
        """
        environment = {**self._environment, **(variables or {})}
        share = max((os.cpu_count() or 1) // self.jobs, 1)
        for name in _THREADS:
            environment.setdefault(name, str(share))  # else each would take all cores
        devices = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        if len(devices) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        command = [sys.executable, "-m", "noisylab", *arguments]
        with contextlib.ExitStack() as stack:
            said = None if log is None else stack.enter_context(log.open("ab"))
            self._running[number] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, env=environment, start_new_session=True
            )

    def ended(self) -> list[tuple[int, subprocess.Popen[bytes]]]:
        """(number, process) of those that have ended since the last call."""
        found = [(number, process) for number, process in self._running.items() if process.poll() is not None]
        for number, process in found:
            del self._running[number]
            if process.stdin is not None:
                process.stdin.close()
        return found

    @contextlib.contextmanager
    def hearing(self) -> Iterator[None]:
        """Hand signals on; a second Ctrl-C kills. Whatever is left at the end is killed."""

        def hand_on(number: int, frame: FrameType | None) -> None:
            hard = self.asked and number == signal.SIGINT
            self.asked = number
            for process in self._running.values():
                with contextlib.suppress(OSError):
                    process.kill() if hard else process.send_signal(number)

        before = {}
        if threading.current_thread() is threading.main_thread():  # which Python demands
            signals = [getattr(signal, name) for name in _HANDED_ON if hasattr(signal, name)]
            before = {number: signal.signal(number, hand_on) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            for process in self._running.values():
                process.kill()
                process.wait()
            self.ended()


def end_with_the_command() -> None:
    """End this process in order, as after SIGTERM, once the command that started it is gone: its standard input closes."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1):  # the lock of a buffer, held here, would end the interpreter with an error
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def signal_name(number: int) -> str:
    """The name of a signal, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
