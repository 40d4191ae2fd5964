"""Processes that a launcher has started meet: two of them as two threads, over a store in memory."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import claim
from noisylab.cli.launch import Start
from noisylab.cli.running import meeting, nodes
from noisylab.cli.running.meeting import Elsewhere, Meeting
from noisylab.cli.running.nodes import one_folder


def _both(work: Callable[[int], Any]) -> list[Any]:
    """What `work` comes to in two processes: its value, or the error."""

    def tried(rank: int) -> Any:
        try:
            return work(rank)
        except UserError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(tried, (0, 1)))


@pytest.fixture
def store() -> Any:
    return torch.distributed.HashStore()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set where a process would have been ended."""
    event = threading.Event()
    monkeypatch.setattr(meeting.os, "_exit", lambda status: event.set())
    monkeypatch.setattr(meeting, "_GRACE", 0.05)
    return event


@pytest.fixture
def pair(store: Any, ended: threading.Event) -> Iterator[list[Meeting]]:
    found = _both(lambda rank: Meeting(store, Start(2, rank, 0, 1, outside=True), limit=0.4))
    yield found
    for one in found:
        one._closing.set()


def test_each_hears_what_all_say_and_what_the_first_one_tells(pair: list[Meeting]) -> None:
    said = _both(lambda rank: (pair[rank].gather("a number", 10 + rank), pair[rank].tell("a word", f"word {rank}")))
    assert said == [([10, 11], "word 0")] * 2
    assert not pair[0].again and not pair[1].again


@pytest.mark.parametrize("refuses", [0, 1])
def test_one_that_refuses_is_named_by_the_other(refuses: int, pair: list[Meeting]) -> None:
    def work(rank: int) -> Any:
        if rank == refuses:
            return pair[rank].fail("no data here")
        return pair[rank].gather("whether it is ready")

    said = _both(work)
    assert said[refuses] is False, "nobody else says so"
    assert isinstance(said[1 - refuses], Elsewhere)
    assert f"process {refuses} of 2 on " in str(said[1 - refuses]) and "no data here" in str(said[1 - refuses])


def test_what_both_refuse_is_said_by_the_first(pair: list[Meeting]) -> None:
    assert _both(lambda rank: pair[rank].fail("no such recipe")) == [False, True]


@pytest.mark.parametrize("gone", [0, 1])
def test_one_without_signs_of_life_is_named_while_the_other_waits_for_it(gone: int, pair: list[Meeting]) -> None:
    pair[gone]._closing.set()  # as if killed: it says nothing any more, not even goodbye
    with pytest.raises(Elsewhere, match=f"process {gone} of 2 on .* has ended: no sign of life"):
        pair[1 - gone].gather("whether it is ready")
    assert pair[1 - gone].speaks(), "the one that is left says so"


def test_one_that_ended_with_an_error_is_blamed_with_it(pair: list[Meeting]) -> None:
    pair[1].close("ValueError: the disk is full")
    assert "process 1 of 2 on" in str(pair[0].blame()) and "the disk is full" in str(pair[0].blame())


def test_one_that_waits_where_no_exception_comes_is_ended(
    pair: list[Meeting], ended: threading.Event, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed))  # as a file: written in blocks
    print("epoch 3 is done")
    pair[1]._closing.set()
    assert ended.wait(30)
    assert "process 1 of 2 on" in capfd.readouterr().err
    assert printed.getvalue() == b"epoch 3 is done\n", "what was printed before is not lost"


def test_one_that_is_done_is_not_missed(pair: list[Meeting], ended: threading.Event) -> None:
    pair[1].close()
    before = pair[0]._seen
    while pair[0]._seen is before or not pair[0]._seen[1][0].startswith("left"):
        time.sleep(0.01)  # until that was noticed
    assert pair[0].blame() is None and not ended.is_set()


def test_a_first_process_that_was_done_is_not_missed_when_its_store_is_gone(pair: list[Meeting], ended: threading.Event) -> None:
    pair[0].close()
    before = pair[1]._seen
    while pair[1]._seen is before or not pair[1]._seen[0][0].startswith("left"):
        time.sleep(0.01)  # until that was noticed
    pair[1]._store = _Gone()
    assert not ended.wait(1.5), "the limit is 0.4 s: it ended well, and what this process still has to do is not lost"
    assert pair[1].lost is None


def test_goodbye_to_a_machine_that_has_vanished_is_not_waited_for(pair: list[Meeting]) -> None:
    pair[1]._store = _Silent()
    saying = threading.Thread(target=pair[1].close, daemon=True)
    saying.start()
    saying.join(10)
    assert not saying.is_alive(), "a store that answers nothing would keep the process for ever"


class _Gone:
    """A store whose server has ended."""

    def __getattr__(self, name: str) -> Any:
        raise torch.distributed.DistNetworkError("Connection reset by peer")


class _Silent:
    """A store on a machine without power: what is asked of it waits."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: threading.Event().wait()


def test_the_next_start_hears_nothing_of_the_one_before(store: Any, pair: list[Meeting], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1"), ("TORCHELASTIC_USE_AGENT_STORE", "True")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(meeting, "_SAME", 0.0)
    pair[1].fail("of the start before")
    later = _both(lambda rank: Meeting(store, Start(2, rank, 0, 1, outside=True), limit=10))
    try:
        assert all(one.again for one in later)
        assert _both(lambda rank: later[rank].gather("a number", rank)) == [[0, 1]] * 2
        assert later[0]._server is not None
        assert meeting.os.environ["MASTER_PORT"] == str(later[0]._server.port)
        assert meeting.os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "False"
    finally:
        for one in later:
            one._closing.set()


def test_every_process_has_the_folder_that_the_first_one_has_claimed(pair: list[Meeting], tmp_path: Path) -> None:
    with claim(tmp_path / "run", "fit") as first:
        folders = _both(lambda rank: one_folder(pair[rank], None if rank else first, "fit"))
    assert folders[0] is first
    assert folders[1].path == (tmp_path / "run").resolve() and folders[1].checkpoint is None


@pytest.mark.parametrize("resume", [True, False])
def test_storage_that_is_not_shared_is_named(
    resume: bool, pair: list[Meeting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nodes, "_APPEARS", 0.0)
    monkeypatch.setattr(nodes, "_appears", lambda folder, number, checkpoint: False)  # another machine's disk
    with claim(tmp_path / "run", "fit") as first:
        first.checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt" if resume else None
        said = _both(lambda rank: one_folder(pair[rank], None if rank else first, "fit"))
    if resume:
        assert all(isinstance(error, UserError) and "is not visible to process 1 of 2" in str(error) for error in said)
    else:
        assert said[0] is first and "is not visible to process 1 of 2" in capsys.readouterr().err
