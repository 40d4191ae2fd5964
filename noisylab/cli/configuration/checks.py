"""Checks for values of the right type that cannot work, made on the configuration before any data is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from noisylab.cli.configuration.registry import class_kind, locate, parameters
from noisylab.cli.errors import UserError, short

__all__ = ["check_values"]

_LARGEST_SEED = 2**32 - 1  # of numpy's generators, which Lightning seeds
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{0,100}")
# what says that there is more than one machine: a launcher's or a scheduler's variables
_SEVERAL_MACHINES = ("MASTER_ADDR", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "LSB_JOBID", "KUBERNETES_PORT", "XLA_IST_CONFIG")
_CORES_TIMES, _FEWEST = 4, 8  # processes on the CPU: so many a core, or so many on a small machine


def _at_least(lowest: float) -> tuple[Callable[[Any], bool], str]:
    return lambda value: bool(value >= lowest), f"{lowest} or more"


def _no_limit_or_at_least(lowest: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: bool(value == -1 or value >= lowest), f"{lowest} or more, or -1 for no limit"


_TRAINER: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_epochs": _no_limit_or_at_least(0),
    "max_steps": _no_limit_or_at_least(1),
    "min_epochs": _at_least(0),
    "min_steps": _at_least(0),
    "check_val_every_n_epoch": _at_least(1),
    "log_every_n_steps": _at_least(0),
    "accumulate_grad_batches": _at_least(1),
    "gradient_clip_val": _at_least(0),
    "num_nodes": _at_least(1),
    "num_sanity_val_steps": _no_limit_or_at_least(0),
    "reload_dataloaders_every_n_epochs": _at_least(0),
    "limit_train_batches": (lambda value: value > 0, "more than 0, or left out for all batches"),
    "limit_val_batches": _at_least(0),
    "limit_test_batches": _at_least(0),
    "limit_predict_batches": _at_least(0),
    "overfit_batches": _at_least(0),
    "val_check_interval": (lambda value: not isinstance(value, int | float) or value > 0, "more than 0"),
}


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse values that make no sense for any run.

    Args:
        config: composed: classes by import path, plain values.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    seed = config["seed_everything"]
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _LARGEST_SEED:
        raise UserError(f"seed_everything: expected a whole number in 0..{_LARGEST_SEED}, got {seed!r}; every run needs a seed")
    name = config.get("recipe")
    if name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name) or name.strip(". ") != name.strip()):
        raise UserError(
            f"recipe: {name!r} becomes a folder in runs, so it must be a name of at most 100 characters without / and \\, and "
            "without a dot at either end; rename it, or name the folder itself with --run_dir"
        )
    _check_finite(config, [])
    _check_trainer(config.get("trainer") or {})
    for node in ("model", "data"):
        _check_makers(config[node], [node])


def _check_finite(value: Any, at: list[str]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{'.'.join(at)}: must be a finite number, got {value}; leave it out for the default")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_finite(item, at if key == "init_args" else [*at, str(key)])
    elif isinstance(value, list | tuple):
        for item in value:
            _check_finite(item, at)


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    for key, (holds, allowed) in _TRAINER.items():
        value = trainer.get(key)
        if value is not None and not isinstance(value, bool | str) and not holds(value):
            raise UserError(f"trainer.{key}: must be {allowed}, got {value}")
    epochs, steps = trainer.get("max_epochs", 1), trainer.get("max_steps", -1)
    if epochs in (None, -1) and steps in (None, -1) and trainer.get("max_time") is None:
        meant = "would be a thousand epochs" if epochs is None else "would never end"
        raise UserError(f"trainer.max_epochs: {epochs} {meant}; name a number of epochs, trainer.max_steps or trainer.max_time")
    nodes = trainer.get("num_nodes", 1) or 1
    if nodes > 1 and not any(name in os.environ for name in _SEVERAL_MACHINES):
        raise UserError(
            f"trainer.num_nodes: {nodes} machines would wait for each other forever, because nothing says where they are\n"
            "  start the command on each with torchrun, srun, or MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment"
        )
    _check_devices(trainer.get("devices"), trainer.get("accelerator"))


def _check_devices(devices: Any, accelerator: Any) -> None:
    """Refuse more processes on the CPU than it could serve; of other devices Lightning knows how many there are."""
    text = str(devices)
    if isinstance(devices, bool | list) or not text.isdecimal():
        return
    other = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator != "cpu" and (accelerator not in ("auto", None) or other):
        return
    most = max(_CORES_TIMES * (os.cpu_count() or 1), _FEWEST)
    if int(text) > most:
        raise UserError(
            f"trainer.devices: {text} processes on the CPU, which has {os.cpu_count()} cores; at most {most} are useful"
        )


def _check_makers(node: Mapping[str, Any], at: list[str]) -> None:
    """Make each optimizer and schedule once, for a parameter of its own, so that their own checks come first."""
    accepted = parameters(locate(node["class_path"]))
    kinds = {name: class_kind(parameter.hint) for name, parameter in accepted.items()}
    given = {name: value for name, value in node["init_args"].items() if isinstance(value, Mapping) and "class_path" in value}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for name, value in given.items():
        if _is_kind(kinds.get(name), torch.optim.Optimizer):
            optimizers[name] = _made(value, [*at, name], [torch.nn.Parameter(torch.zeros(1, 1))])
    for name, value in given.items():
        own = optimizers.get(name.replace("scheduler", "optimizer"))
        if own is not None and _is_kind(kinds.get(name), torch.optim.lr_scheduler.LRScheduler):
            _made(value, [*at, name], own)


def _is_kind(found: type | None, kind: type) -> bool:
    return found is not None and issubclass(found, kind)


def _made(node: Mapping[str, Any], where: list[str], first: Any) -> Any:
    cls = locate(node["class_path"])
    try:
        return cls(first, **node["init_args"])
    except Exception as error:  # whatever its constructor raises
        raise UserError(f"{'.'.join(where)}: {cls.__name__} cannot be built: {short(error, 2)}") from error
