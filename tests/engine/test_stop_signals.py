from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from noisylab.engine.stop_signals import StopSignals


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    found = StopSignals()
    yield found
    found.restore()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_said(number: signal.Signals, signals: StopSignals, capfd: pytest.CaptureFixture[str]) -> None:
    signals.install()
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received is number
    told = capfd.readouterr().err
    assert told.count("saving after this step") == 1 and number.name in told
    assert ("stops at once" in told) == (number is signal.SIGINT)


def test_a_second_ctrl_c_is_not_held_back(signals: StopSignals) -> None:
    signals.install(loud=False)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_after_a_sigterm_stops_at_once(signals: StopSignals) -> None:
    signals.install(loud=False)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_quiet_ranks_say_nothing(signals: StopSignals, capfd: pytest.CaptureFixture[str]) -> None:
    signals.install(loud=False)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received is signal.SIGTERM and capfd.readouterr().err == ""


def test_the_handlers_before_come_back(signals: StopSignals) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signals.install()
    signals.install()  # a second time changes nothing
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    signals.restore()
    signals.restore()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_leaves_the_signals_alone(signals: StopSignals) -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=signals.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
