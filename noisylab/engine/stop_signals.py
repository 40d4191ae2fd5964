"""Handles a request to stop: training stops at the next point from which it can be resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["StopSignals"]

# the third is how SLURM announces that the time of a job is nearly up; Windows has none
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignals:
    """Notes SIGTERM, SIGUSR1 and Ctrl-C instead of stopping at once. A second Ctrl-C does stop at once.

    Attributes:
        received: the first of the signals that came, None before.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._loud = False

    def install(self, *, loud: bool = True) -> None:
        """Take over the signals; does nothing outside the main thread, where Python delivers none.

        Args:
            loud: whether to answer a signal with a line on the error output.
        """
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        self._loud = loud
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._note)

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        handlers, self._handlers = self._handlers, {}
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        first, self.received = self.received is None, self.received or signal.Signals(number)
        if first and self._loud:
            again = "; a second Ctrl-C stops at once, without saving" if number == signal.SIGINT else ""
            # print may be in the middle of a line of its own; who reads may have been stopped by the same Ctrl-C
            with contextlib.suppress(OSError):
                os.write(2, f"\n{signal.Signals(number).name}: saving after this step{again}\n".encode())
