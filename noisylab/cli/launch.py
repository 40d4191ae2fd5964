"""Finds out whether a launcher really started this process as one of several, or the environment only looks that way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from noisylab.cli.errors import UserError

__all__ = [
    "Start",
    "check_world",
    "first_process",
    "how_started",
    "is_lost_process",
    "launched",
    "lost_words",
    "settle",
    "take_world",
]

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "Socket closed")  # of gloo
_INTERACTIVE = ("bash", "interactive")  # names of jobs for which Lightning takes no notice of SLURM


@dataclass(frozen=True)
class Start:
    """How this process was started, found out once: Lightning changes the variables later.

    Args:
        world: processes of the run, on all machines.
        rank: number of this one among them.
        local_rank: its number on this machine.
        local_world: processes of each machine; 0 where the launcher does not say, or where they differ.
        outside: whether a launcher outside this program has started them, perhaps on several machines, and not Lightning.
        job: the batch job of SLURM that this process works for; None without one, and in a shell of one.
    """

    world: int = 1
    rank: int = 0
    local_rank: int = 0
    local_world: int = 0
    outside: bool = False
    job: str | None = None


_start = Start()


def how_started() -> Start:
    """How this process was started, as found by `settle`."""
    return _start


def launched(environment: Mapping[str, str]) -> int:
    """The number of processes that a launcher has started, including this one; 1 without a launcher.

    torchrun, Lightning and Kubeflow say where the first process listens and how many there are; srun says how many tasks its step
    has. A rank alone, or a number of tasks that were asked for, says nothing: such variables stay behind in shells.

    Args:
        environment: variables.
    """
    return _number(environment, "WORLD_SIZE") if _variables_of_a_launcher(environment) else _tasks(environment)


def first_process() -> bool:
    """Whether this process is the only one or the first of several, as found by `settle`."""
    return _start.rank == 0


def settle(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Find out how this process was started; remove variables that would make Lightning wait for other processes in vain.

    Args:
        environment: variables, changed in place.

    Returns:
        What was ignored, for the user; None where that was nothing that would have mattered.
    """
    global _start
    _start = replace(_find(environment), job=_job(environment))
    rank_zero_only.rank = _start.rank  # type: ignore[attr-defined]  # Lightning read it when it was imported
    if _start.world > 1:
        if "SLURM_NTASKS" in environment and _start.local_world:  # which Lightning asks for, and srun sets only if it was given
            environment.setdefault("SLURM_NTASKS_PER_NODE", str(_start.local_world))
        return None
    left = {key: environment.pop(key) for key in _RANKS if key in environment}
    one = {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    ignored = [f"{key}={value}" for key, value in left.items() if value != one.get(key, "0")]
    tasks, complete = _number(environment, "SLURM_NTASKS"), {"SLURM_PROCID", "SLURM_LOCALID"} <= set(environment)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE and not (tasks == 1 and complete):
        environment["SLURM_JOB_NAME"] = _INTERACTIVE[-1]
        ignored += [f"SLURM_NTASKS={tasks}"] if tasks != 1 else []
    if not ignored:
        return None
    return f"{', '.join(ignored)} in the environment: ignored, as no launcher has started several processes; this is the only one"


def take_world(trainer: dict[str, Any], given: Iterable[str] = ()) -> None:
    """Take ``devices`` and ``num_nodes`` from the launcher if the configuration does not set them.

    Args:
        trainer: its part of a configuration, changed in place; one machine is what a run folder says of every run.
        given: keys that the command line sets.
    """
    world, local = _start.world, _start.local_world
    if world == 1 or trainer.get("devices") not in (None, "auto", -1, "-1") or not local or world % local:
        return
    trainer["devices"] = local
    if "trainer.num_nodes" not in given and trainer.get("num_nodes") in (None, 1):
        trainer["num_nodes"] = world // local


def check_world(devices: int, nodes: int) -> None:
    """Refuse to train in a different number of processes than the launcher started: all would write to one folder.

    Args:
        devices: processes of the Trainer on each machine.
        nodes: its machines.

    Raises:
        UserError: naming both numbers.
    """
    world, local, asked = _start.world, _start.local_world, devices * nodes
    if world == 1 and nodes > 1:
        raise UserError(
            f"trainer.num_nodes={nodes}: this is the only process, as no launcher has started one on each machine\n"
            f"  start the same command on every machine: torchrun --nnodes {nodes} --nproc_per_node {devices} "
            "--rdzv_backend c10d\n  --rdzv_endpoint FIRST_MACHINE:29500 -m noisylab ..., or srun in a job of SLURM; "
            "or leave trainer.num_nodes out"
        )
    if world != 1 and asked != world:
        raise UserError(
            f"a launcher has started {world} processes, and the Trainer is set up for {asked}\n"
            f"  write --trainer.devices with the processes of each machine and --trainer.num_nodes with the machines, {world} in "
            "all,\n  or start noisylab without the launcher: it starts the processes of --trainer.devices itself"
        )
    if world != 1 and local and local != devices:
        raise UserError(
            f"a launcher has started {local} processes on each of {world // local} machines, and the Trainer is set up for "
            f"{devices} on each of {nodes}\n  write --trainer.devices {local} --trainer.num_nodes {world // local}, or neither"
        )


def is_lost_process(error: BaseException) -> bool:
    """Whether an error means that another process of the run has ended and its connection broke."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _LOST)


def lost_words(error: BaseException) -> str:
    """The message of an error recognized by `is_lost_process`, without its place in the library."""
    return next((part for part in _LOST if part in str(error)), str(error).strip().partition("\n")[0][:200])


def _find(environment: Mapping[str, str]) -> Start:
    world = launched(environment)
    if world == 1:
        return Start()
    if _variables_of_a_launcher(environment):
        local = _number(environment, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else 0
        if "RANK" in environment:
            rank = int(environment["RANK"])
            return Start(world, rank, int(environment.get("LOCAL_RANK", rank)), local, outside=True)
        # started by Lightning in the first process, on this machine; of those on another one the number is not known
        rank = int(environment["LOCAL_RANK"])
        return Start(world, rank if environment.get("NODE_RANK", "0") == "0" else max(rank, 1), rank, local)
    rank, local_rank = int(environment["SLURM_PROCID"]), int(environment["SLURM_LOCALID"])
    return Start(world, rank, local_rank, _tasks_per_node(environment), outside=True)


def _variables_of_a_launcher(environment: Mapping[str, str]) -> bool:
    world = _number(environment, "WORLD_SIZE")
    return bool(world > 1 and _has_rank(environment, world) and environment.get("MASTER_ADDR") and environment.get("MASTER_PORT"))


def _shell_of_a_job(environment: Mapping[str, str]) -> bool:
    return environment.get("SLURM_JOB_NAME") in _INTERACTIVE or "SLURM_PTY_PORT" in environment


def _job(environment: Mapping[str, str]) -> str | None:
    """How scontrol names the job: that of an array by the number of its task."""
    if _shell_of_a_job(environment) or "SLURM_JOB_ID" not in environment:
        return None
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = environment["SLURM_JOB_ID"] if array is None or task is None else f"{array}_{task}"
    return job if re.fullmatch(r"\d+(_\d+)?", job) else None


def _tasks(environment: Mapping[str, str]) -> int:
    """Tasks of the step that srun runs this process in; a shell in such a step runs alone."""
    needed = {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"}
    if _shell_of_a_job(environment) or not needed <= set(environment):
        return 1
    return _number(environment, "SLURM_STEP_NUM_TASKS")


def _tasks_per_node(environment: Mapping[str, str]) -> int:
    """Tasks of the step on each of its machines, 0 where they differ: "2(x3)" is two on each of three, "2,1" three on two."""
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return int(found[1]) if found else 0


def _number(environment: Mapping[str, str], key: str) -> int:
    """A whole number of at least 1; 1 for anything else."""
    text = environment.get(key, "1").strip()
    return max(int(text), 1) if text.isdecimal() else 1


def _has_rank(environment: Mapping[str, str], world: int) -> bool:
    ranks = [environment[key].strip() for key in ("RANK", "LOCAL_RANK") if key in environment]
    return bool(ranks) and all(rank.isdecimal() and int(rank) < world for rank in ranks)
