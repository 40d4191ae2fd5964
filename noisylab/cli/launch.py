"""Finds out whether a launcher really started this process as one of several, or the environment only looks that way."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from noisylab.cli.errors import UserError

__all__ = ["check_world", "first_process", "is_lost_process", "launched", "lost_words", "settle", "take_world"]

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "Socket closed")  # of gloo
_INTERACTIVE = ("bash", "interactive")  # names of jobs for which Lightning takes no notice of SLURM


@dataclass
class _Start:
    """How this process was started, found out once: Lightning changes the variables later."""

    world: int = 1
    first: bool = True


_start = _Start()


def launched(environment: Mapping[str, str]) -> int:
    """The number of processes that a launcher has started, including this one; 1 without a launcher.

    torchrun, Lightning and Kubeflow say where the first process listens and how many there are; srun says how many tasks its step
    has. A rank alone, or a number of tasks that were asked for, says nothing: such variables stay behind in shells.

    Args:
        environment: variables.
    """
    world = _number(environment, "WORLD_SIZE")
    if world > 1 and _has_rank(environment, world) and environment.get("MASTER_ADDR") and environment.get("MASTER_PORT"):
        return world
    return _tasks(environment)


def first_process() -> bool:
    """Whether this process is the only one or the first of several, as found by `settle`."""
    return _start.first


def _is_first(environment: Mapping[str, str]) -> bool:
    rank = next((environment[key] for key in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if key in environment), "0")
    return rank == "0" and environment.get("NODE_RANK", environment.get("GROUP_RANK", "0")) == "0"


def settle(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Find out how this process was started; remove variables that would make Lightning wait for other processes in vain.

    Args:
        environment: variables, changed in place.

    Returns:
        What was ignored, for the user; None where that was nothing that would have mattered.
    """
    _start.world = launched(environment)
    _start.first = _start.world == 1 or _is_first(environment)
    if _start.world > 1:
        return None
    left = {key: environment.pop(key) for key in _RANKS if key in environment}
    one = {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    ignored = [f"{key}={value}" for key, value in left.items() if value != one.get(key, "0")]
    tasks, complete = _number(environment, "SLURM_NTASKS"), {"SLURM_PROCID", "SLURM_LOCALID"} <= set(environment)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE and not (tasks == 1 and complete):
        environment["SLURM_JOB_NAME"] = _INTERACTIVE[-1]
        ignored += [f"SLURM_NTASKS={tasks}"] if tasks != 1 else []
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # Lightning read it when it was imported
    if not ignored:
        return None
    return f"{', '.join(ignored)} in the environment: ignored, as no launcher has started several processes; this is the only one"


def take_world(trainer: dict[str, Any]) -> None:
    """Take ``devices`` and ``num_nodes`` from the launcher if the configuration does not set them.

    Args:
        trainer: its part of a configuration, changed in place.
    """
    world = _start.world
    local = _number(os.environ, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else 0
    if world == 1 or trainer.get("devices") not in (None, "auto", -1, "-1") or not local or world % local:
        return
    trainer["devices"] = local
    trainer.setdefault("num_nodes", world // local)


def check_world(asked: int) -> None:
    """Refuse to train in a different number of processes than the launcher started: all would write to one folder.

    Args:
        asked: processes of the Trainer.

    Raises:
        UserError: naming both numbers.
    """
    world = _start.world
    if world != 1 and asked != world:
        raise UserError(
            f"a launcher has started {world} processes, and the Trainer is set up for {asked}\n"
            f"  write --trainer.devices with the processes of each machine and --trainer.num_nodes with the machines, {world} in "
            "all,\n  or start noisylab without the launcher: it starts the processes of --trainer.devices itself"
        )


def is_lost_process(error: BaseException) -> bool:
    """Whether an error means that another process of the run has ended and its connection broke."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _LOST)


def lost_words(error: BaseException) -> str:
    """The message of an error recognized by `is_lost_process`, without its place in the library."""
    return next((part for part in _LOST if part in str(error)), str(error).strip().partition("\n")[0][:200])


def _tasks(environment: Mapping[str, str]) -> int:
    """Tasks of the step that srun runs this process in; a shell in such a step runs alone."""
    shell = environment.get("SLURM_JOB_NAME") in _INTERACTIVE or "SLURM_PTY_PORT" in environment
    if shell or not {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"} <= set(environment):
        return 1
    return _number(environment, "SLURM_STEP_NUM_TASKS")


def _number(environment: Mapping[str, str], key: str) -> int:
    """A whole number of at least 1; 1 for anything else."""
    text = environment.get(key, "1").strip()
    return max(int(text), 1) if text.isdecimal() else 1


def _has_rank(environment: Mapping[str, str], world: int) -> bool:
    ranks = [environment[key].strip() for key in ("RANK", "LOCAL_RANK") if key in environment]
    return bool(ranks) and all(rank.isdecimal() and int(rank) < world for rank in ranks)
