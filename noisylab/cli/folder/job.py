"""Which job a command works for, so that the job's next start finds the run folder of the one before."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.launch import how_started

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["Job", "belongs", "job_of", "note", "noted_job"]


@dataclass(frozen=True)
class Job:
    """A command within a job that may be started again.

    Args:
        keys: names of the job, of which two starts of it share one: the number that SLURM gave it, the agents of torchrun.
        call: digest of the command line; a job may hold several commands.
        starts: how often the job was started before.
    """

    keys: tuple[str, ...] = ()
    call: str = ""
    starts: int = 0

    def note(self) -> dict[str, Any] | None:
        """What a run folder keeps of it; None for a command that nothing starts again."""
        return {"keys": list(self.keys), "call": self.call} if self.keys else None

    def joined(self, others: Iterable[Mapping[str, Any]]) -> Job:
        """The job as all processes of the run see it: torchrun counts the starts on each machine, where some may be new.

        Args:
            others: what each process's ``asdict(job)`` is, this one's included.
        """
        seen = list(others)
        keys = dict.fromkeys(key for other in seen for key in other["keys"])
        return Job(tuple(keys), self.call, max(int(other["starts"]) for other in seen))


_noted: list[Job] = []  # that of this command, for the folders that it makes


def noted_job() -> dict[str, Any] | None:
    """What the folders made by this command keep of its job."""
    return _noted[-1].note() if _noted else None


def note(job: Job) -> None:
    """Let the folders made from now on be those of a job."""
    _noted[:] = [job]


def job_of(options: Options, environment: Mapping[str, str] = os.environ) -> Job:
    """The job that a command is part of, as the variables of SLURM and torchrun tell it.

    Args:
        options: of the command.
        environment: variables.
    """
    told = asdict(options)
    call = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    keys, starts = [], 0
    number = how_started().job
    if number is not None:
        keys.append(f"slurm {environment.get('SLURM_CLUSTER_NAME', '')}/{number}")
        starts += _count(environment, "SLURM_RESTART_COUNT")
    if environment.get("TORCHELASTIC_RUN_ID"):
        keys.append(f"torchrun {environment['TORCHELASTIC_RUN_ID']} {socket.gethostname()} {_agent(environment)}")
        starts += _count(environment, "TORCHELASTIC_RESTART_COUNT")
    return Job(tuple(keys), call, starts)


def belongs(noted: Any, job: Job) -> bool:
    """Whether what a folder has kept (`Job.note`) is the same command of the same job."""
    keys: Sequence[str] = noted.get("keys", ()) if isinstance(noted, Mapping) and noted.get("call") == job.call else ()
    return bool(set(keys) & set(job.keys))


def _count(environment: Mapping[str, str], key: str) -> int:
    text = environment.get(key, "")
    return int(text) if text.isdecimal() else 0


def _agent(environment: Mapping[str, str]) -> str:
    """The agent of torchrun that started this process: by the folder of its logs, new for each agent, or by its number."""
    file = Path(environment.get("TORCHELASTIC_ERROR_FILE", ""))
    attempt = next((above for above in file.parents if re.fullmatch(r"attempt_\d+", above.name)), None)
    return str(attempt.parent) if attempt is not None else str(os.getppid())
