"""Where the processes of a run that a launcher has started on one or more machines meet before they train, and how they notice
that one of them is gone."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from noisylab.cli.errors import UserError, is_bug, leave_to_another, message, short
from noisylab.cli.launch import Start, how_started

__all__ = ["Elsewhere", "Lost", "Meeting", "current_meeting", "meet"]

_CONNECT = timedelta(minutes=10)  # until all processes have come
_STEP = 0.05  # seconds between two looks at what the others have said
_BEAT = 2.0  # seconds between two signs of life
_MISSED = 3  # signs of life after which a process whose connection broke is known to be gone
_SAME = 3.0  # seconds in which the first process may say the same
_GRACE = 10.0  # seconds in which a command ends by itself after a process of its run is gone
_LEFT = "left"


class Elsewhere(UserError):
    """Another process of the run has refused to go on, or is gone; the first one says so for all."""


@dataclass(frozen=True)
class Lost:
    """A process of the run that is gone.

    Args:
        rank: its number.
        what: what is known of it, for the user.
        said: whether it has said so itself.
    """

    rank: int
    what: str
    said: bool = False


class Meeting:
    """The processes of one run, which tell each other short texts over the store of their launcher.

    The store is the one at MASTER_ADDR and MASTER_PORT that torch's process group will use as well, and is there before it.
    A thread gives a sign of life every two seconds. The first process watches those of all, the others that of the first and what
    it says of the rest, so a process that was killed, or whose machine is gone, is named within `limit` seconds, whatever the
    others are waiting for.

    Args:
        store: that all processes have connected to.
        start: how this process was started.
        limit: seconds without a sign of life after which a process counts as gone.

    Attributes:
        rank: number of this process.
        world: how many there are.
        lost: the process that is gone; None while all are there.
        again: whether processes have met at this store before, started by the same agents of torchrun.
    """

    def __init__(self, store: Store, start: Start, limit: float) -> None:
        self.rank, self.world, self.limit = start.rank, start.world, limit
        self.lost: Lost | None = None
        self._local_rank = start.local_rank
        self._told = 0
        self._beat = min(_BEAT, limit / 5)
        self._hosts = [""] * self.world
        self._seen: dict[int, tuple[str, float]] = {}  # the last sign of life of a process, and when it came
        self._reached = time.monotonic()  # when the store was last reached
        self._closing = threading.Event()
        used = store.check(["noisylab/start"])
        self._store = self._agreed(store)
        self._set(f"life/{self.rank}", 0)
        for work in (self._live, self._judge):
            threading.Thread(target=work, name=f"noisylab{work.__name__}", daemon=True).start()
        self._hosts = self.gather("where it runs", socket.gethostname())
        self.again: bool = self.tell("whether others were here before", used)
        self._server = self._moved(start) if self.again else None

    # ---- what commands call, in the same order in every process

    def gather(self, what: str, value: Any = None) -> list[Any]:
        """What every process has to say on one matter, in the order of their numbers; waits until all have said it.

        Args:
            what: the matter, for the message where one of them has nothing more to say.
            value: of this process; numbers, texts, lists, dicts and None.

        Raises:
            Elsewhere: where another process has refused to go on, naming it, or is gone.
        """
        self._told += 1
        keys = [f"{self._told}/{rank}" for rank in range(self.world)]
        try:
            self._set(keys[self.rank], {"value": value})
            while not self._check(keys):
                if self.lost is not None:
                    raise Elsewhere(f"{self.lost.what}; the others waited to hear {what}")
                time.sleep(_STEP)
            found = [self._get(key) for key in keys]
        except torch.distributed.DistError as error:
            self.lost = self.lost or Lost(0, f"{self.name(0)} has ended: it is no longer reached")
            raise Elsewhere(self.lost.what) from error
        for rank, said in enumerate(found):
            if "error" in said:
                raise Elsewhere(f"{self.name(rank)}: {said['error']}")
        return [said["value"] for said in found]

    def tell(self, what: str, value: Any = None) -> Any:
        """What the first process says on a matter, in every process; see `gather`.

        Args:
            what: the matter.
            value: used in the first process alone.
        """
        return self.gather(what, value if self.rank == 0 else None)[0]

    # ---- when something has gone wrong

    def name(self, rank: int) -> str:
        """A process as a user knows it."""
        return f"process {rank} of {self.world}" + f" on {self._hosts[rank]}" * bool(self._hosts[rank])

    def fail(self, text: str) -> bool:
        """Let the others know that this process does not go on.

        Args:
            text: why.

        Returns:
            Whether the first process has the same to say, so that this one need not.
        """
        self._told += 1
        with contextlib.suppress(torch.distributed.DistError):  # the first one is gone, too
            self._set(f"{self._told}/{self.rank}", {"error": text})
            until = time.monotonic() + _SAME
            while self.rank > 0 and self.lost is None and time.monotonic() < until:
                if self._check([f"{self._told}/0"]):
                    return bool(self._get(f"{self._told}/0").get("error") == text)
                time.sleep(_STEP)
        return False

    def blame(self) -> str | None:
        """Who is gone, after a connection broke: known once a few signs of life have not come.

        Returns:
            What to say, None where every process still gives signs of life.
        """
        until = time.monotonic() + (_MISSED + 2) * self._beat
        while self.lost is None and time.monotonic() < until:
            self.lost = self._gone(_MISSED * self._beat)
            time.sleep(_STEP)
        return None if self.lost is None else self.lost.what

    def speaks(self) -> bool:
        """Whether this process is the one to say what has happened: the first, or one in its place where it could not."""
        first_is_gone = self.lost is not None and self.lost.rank == 0 and not self.lost.said
        return self.rank == 0 or (first_is_gone and (self.rank == 1 or self._local_rank == 0))

    def close(self, why: str = "") -> None:
        """Say goodbye. The first process, whose store it may be, waits for the others to do so.

        A store on a machine that has vanished does not answer, so this does not wait for it any longer than for the others.

        Args:
            why: what has ended this process, if it was an error.
        """
        self._closing.set()
        saying = threading.Thread(target=self._part, args=(why,), name="noisylab_part", daemon=True)
        saying.start()
        saying.join(_GRACE + _BEAT)

    def _part(self, why: str) -> None:
        with contextlib.suppress(torch.distributed.DistError):
            self._set(f"life/{self.rank}", f"{_LEFT} {why}")
            until = time.monotonic() + _GRACE
            others = [f"life/{rank}" for rank in range(1, self.world)] if self.rank == 0 and self.lost is None else []
            while time.monotonic() < until and not all(str(self._get(key)).startswith(_LEFT) for key in others):
                time.sleep(_STEP)

    # ---- signs of life

    def _live(self) -> None:
        """Give signs of life, and see those of the others; where the first one's machine is gone, this waits for ever."""
        count = 0
        while not self._closing.wait(self._beat):
            count += 1
            with contextlib.suppress(torch.distributed.DistError):
                self._set(f"life/{self.rank}", count)
                self._look()
                self._reached = time.monotonic()

    def _judge(self) -> None:
        """End this process where another one is gone and the command waits for it in a place that no exception reaches."""
        while self.lost is None:
            if self._closing.wait(self._beat):
                return
            self.lost = self.lost or self._gone(self.limit)
        if self._closing.wait(_GRACE):
            return
        _flush()
        if self.speaks():
            how = "continue with --resume, or start the same command again where nothing was saved"
            with contextlib.suppress(OSError):
                os.write(2, f"\nnoisylab: error: {self.lost.what}; this process ends as well\n  {how}\n".encode())
        os._exit(1)

    def _look(self) -> None:
        """Note when the sign of life of each process last changed; the first process tells the others whose did not."""
        now, watched = time.monotonic(), range(self.world) if self.rank == 0 else (0,)
        if not self._check([f"life/{rank}" for rank in watched]):
            return  # not all have come yet
        seen = {}
        for rank in watched:
            life = str(self._get(f"life/{rank}"))
            seen[rank] = self._seen[rank] if rank in self._seen and self._seen[rank][0] == life else (life, now)
        if self.rank == 0:
            silent = {rank: now - since for rank, (life, since) in seen.items() if not life.startswith(_LEFT)}
            self._set("silent", {str(rank): seconds for rank, seconds in silent.items() if rank > 0})
        elif self._check(["silent"]):
            seen |= {int(rank): ("", now - seconds) for rank, seconds in self._get("silent").items()}
        self._seen = seen

    def _gone(self, limit: float) -> Lost | None:
        now = time.monotonic()
        for rank, (life, since) in self._seen.items():
            why = life.removeprefix(_LEFT).strip() if life.startswith(_LEFT) else ""
            if why and rank != self.rank:
                return Lost(rank, f"{self.name(rank)} has ended: {why}", said=True)
            if not life.startswith(_LEFT) and now - since > limit and rank != self.rank and now - self._reached < limit:
                return Lost(rank, f"{self.name(rank)} has ended: no sign of life for {now - since:.0f} s")
        first_is_done = 0 in self._seen and self._seen[0][0].startswith(_LEFT)  # and the store, which it may have served, with it
        if now - self._reached > limit and self.rank > 0 and not first_is_done:
            return Lost(0, f"{self.name(0)} has ended: it is no longer reached")
        return None

    # ---- the store

    def _agreed(self, store: Store) -> Store:
        """The part of a store that belongs to this start: that of an agent of torchrun still holds what earlier starts said."""
        own = secrets.token_hex(8)
        store.set(f"noisylab/hello/{self.rank}", own)
        hello = [f"noisylab/hello/{rank}" for rank in range(self.world)]
        until = time.monotonic() + _CONNECT.total_seconds()
        while time.monotonic() < until:
            if self.rank == 0 and store.check(hello):
                store.set("noisylab/start", json.dumps([store.get(key).decode() for key in hello]))
            known = json.loads(store.get("noisylab/start")) if store.check(["noisylab/start"]) else []
            if len(known) == self.world and known[self.rank] == own:
                found = PrefixStore(f"noisylab/{known[0]}", store)
                found.set(f"here/{self.rank}", "1")
                if self.rank > 0 or found.check([f"here/{rank}" for rank in range(self.world)]):
                    return found
            time.sleep(_STEP)
        missing = [rank for rank in range(self.world) if not store.check([hello[rank]])]
        raise UserError(
            f"of {self.world} processes these have not come within {_CONNECT}: {', '.join(map(str, missing)) or 'unknown'}\n"
            "  look at the output of the launcher on their machines, and whether they reach "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        )

    def _moved(self, start: Start) -> Store | None:
        """Let torch's process group meet at a store of its own: the agent's still has the addresses of processes that are gone.

        Torch 2.15 uses one store for all starts of an agent, and no part of it for each.
        """
        place, served = os.environ["MASTER_ADDR"], None
        if self.rank == 0:
            served = TCPStore(place, 0, start.world, is_master=True, wait_for_workers=False, multi_tenant=True)
        os.environ["MASTER_PORT"] = str(self.tell("where to meet", None if served is None else served.port))
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
        return served

    def _set(self, key: str, value: Any) -> None:
        self._store.set(key, json.dumps(value))

    def _get(self, key: str) -> Any:
        return json.loads(self._store.get(key))

    def _check(self, keys: list[str]) -> bool:
        return bool(self._store.check(keys))


def _flush() -> None:
    """Write out what was printed, which ending at once would lose; not waited for long, as nobody may read it."""

    def work() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
                stream.flush()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_BEAT)


_current: list[Meeting] = []


def current_meeting() -> Meeting | None:
    """That of this command; None where it runs in a single process, or where Lightning has started the others."""
    return _current[-1] if _current else None


@contextlib.contextmanager
def meet(limit: float) -> Iterator[Meeting | None]:
    """Meet the other processes of the run for the length of a command, where a launcher has started some.

    An error that ends the block is told to the others, so that they need not wait for this process; one that the first process
    has as well is marked, to be said once.

    Args:
        limit: see `Meeting`.

    Raises:
        UserError: where the others cannot be reached.
    """
    start = how_started()
    if not start.outside:
        yield None
        return
    meeting = Meeting(_store(start), start, limit)
    _current.append(meeting)
    why = ""
    try:
        yield meeting
    except Exception as error:
        why = short(error, 1)
        said = meeting.fail(f"{type(error).__name__}: {why}" if is_bug(error) else message(error))
        if said or (isinstance(error, Elsewhere) and not meeting.speaks()):
            leave_to_another(error)
        raise
    except BaseException as error:
        why = type(error).__name__
        raise
    finally:
        _current.remove(meeting)
        meeting.close(why)


def _store(start: Start) -> Store:
    """The store that torch's process group will use, which the first process or the launcher's agent serves."""
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        slurm = SLURMEnvironment(auto_requeue=False)
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = slurm.main_address, str(slurm.main_port)
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        found = next(rendezvous("env://", start.rank, start.world, timeout=_CONNECT))
    except (torch.distributed.DistError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the {start.world} processes of this run do not find each other at {place} (MASTER_ADDR, MASTER_PORT): "
            f"{short(error, 1)}\n  the first process listens there: the other machines must reach it, and nothing else may use it"
        ) from error
    store: Store = found[0]
    return store
