"""Every flag of Lightning's Trainer: what it does in a run of noisylab, or why it is refused before any data is read.

Ranges of numbers are checked in `noisylab.cli.configuration.checks`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import BackboneFinetuning, LearningRateMonitor
from torch import nn

from noisylab.callbacks import Curves, HeldOutLabels, LabelIssues, LabelWave, RunCheckpoint, RunSummary
from noisylab.cli.errors import UserError, nearest
from noisylab.cli.launch import launched

__all__ = ["FLAGS", "Flag", "check_callbacks", "check_machine", "check_monitors", "check_trainer", "not_logged"]

_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "single_device")

# callbacks of every run; two of a kind would write one file
_OWN = (Curves, HeldOutLabels, LabelIssues, RunCheckpoint, RunSummary)

Refusal = Callable[[Any, Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Flag:
    """How one flag of the Trainer is handled.

    Args:
        use: what it does, for the documentation.
        refuse: given its value and all flags that are given, why that does not work, and what to do instead; None if it does.
    """

    use: str
    refuse: Refusal = lambda value, given: None


def _only(*allowed: Any, why: str) -> Refusal:
    return lambda value, given: None if value is None or value in allowed else why


def _class_name(value: Any) -> str:
    """Of a class with arguments, or of its path."""
    path = value.get("class_path", "") if isinstance(value, Mapping) else value
    return str(path).rpartition(".")[2]


def _accelerators(name: str) -> tuple[str, ...]:
    """What Lightning calls that which a name may mean."""
    return ("cuda", "mps") if name == "gpu" else (name,)


def _accelerator(value: Any, given: Mapping[str, Any]) -> str | None:
    if not isinstance(value, str) or value in ("auto", "cpu"):
        return None
    if value == "tpu":
        return "noisylab has never run on one; use auto, cpu, cuda or mps"
    known = AcceleratorRegistry.available_accelerators()
    if not all(name in known for name in _accelerators(value)):
        return f"there is no such accelerator; use one of auto, gpu, {', '.join(sorted(set(known) - {'tpu'}))}"
    return None


def check_machine(trainer: Mapping[str, Any]) -> None:
    """Refuse an accelerator that this machine lacks; a recipe that names one can be read and printed anywhere.

    Args:
        trainer: flags by name, those of the whole configuration.

    Raises:
        UserError: naming the flag and what there is.
    """
    value = trainer.get("accelerator")
    if not isinstance(value, str) or value in ("auto", "cpu"):
        return
    known = [name for name in AcceleratorRegistry.available_accelerators() if name != "tpu"]
    here = [name for name in known if AcceleratorRegistry[name]["accelerator"].is_available()]
    if not any(name in here for name in _accelerators(value)):
        raise UserError(
            f"trainer.accelerator={value}: not available on this machine or with this torch; choose from {', '.join(here)}. "
            "auto takes the best one"
        )


def _on_cpu(given: Mapping[str, Any]) -> bool:
    accelerator = given.get("accelerator") or "auto"
    return accelerator == "cpu" or (
        accelerator == "auto" and not torch.cuda.is_available() and not torch.backends.mps.is_available()
    )


def _devices(value: Any, given: Mapping[str, Any]) -> str | None:
    cpu, text = _on_cpu(given), str(value).replace(" ", "")
    if isinstance(value, str) and text != "auto" and not re.fullmatch(r"-?\d+|(\d+,)+\d*", text):
        more = "" if cpu else ", or of GPUs by their numbers, as 0,1"
        return f"write auto, or the number of processes, as 2{more}"
    if cpu and (isinstance(value, list) or "," in text):
        return "on the CPU it is the number of processes: write 2 for two of them"
    if re.fullmatch(r"-?\d+", text) and int(text) < 1 and not (text == "-1" and (not cpu or launched(os.environ) > 1)):
        return "write 1 or more, or auto" + (" (-1 means all GPUs, and there is none)" if text == "-1" else "")
    return None


def _strategy(value: Any, given: Mapping[str, Any]) -> str | None:
    if value is None or value in _STRATEGIES:
        return None
    name = _class_name(value)
    if isinstance(value, Mapping) and not any(part in name for part in ("FSDP", "DeepSpeed", "ModelParallel", "XLA")):
        return None
    if name.startswith("ddp_") or name == "ddp":
        return "its processes come from within this one, which would then write the run folder a second time; use ddp"
    return f"a method needs each network whole in every process, and steps it itself; use one of {', '.join(_STRATEGIES)}"


def _val_check_interval(value: Any, given: Mapping[str, Any]) -> str | None:
    if isinstance(value, str | dict):
        return "by the clock, a resumed run would be another; give a share of an epoch or a number of batches"
    return None


def _plugins(value: Any, given: Mapping[str, Any]) -> str | None:
    for plugin in value if isinstance(value, list) else [value]:
        if "CheckpointIO" in _class_name(plugin):
            return "checkpoints of a run are written and read back by noisylab's own, so that a kill never leaves half of one"
    return None


def _overfit(value: Any, given: Mapping[str, Any]) -> str | None:
    return "each epoch's plan draws its batches anew; to learn a few rows by heart: --data.subset 64" if value else None


def _max_time(value: Any, given: Mapping[str, Any]) -> str | None:
    if isinstance(value, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value.strip()):
        return "write days, hours, minutes and seconds, as 00:08:00:00 for eight hours"
    parts = [int(part) for part in value.split(":")] if isinstance(value, str) else []
    with contextlib.suppress(ValueError, OverflowError):
        try:
            none = isinstance(value, Mapping) and timedelta(**value) <= timedelta(0)
        except TypeError:
            return "write numbers of days, hours, minutes and seconds, as {hours: 8}, or all of them, as 00:08:00:00"
        if none or (parts and max(parts) <= 0):
            return "there would be no time to train; write days, hours, minutes and seconds, as 00:08:00:00"
    return None


def _callbacks(value: Any, given: Mapping[str, Any]) -> str | None:
    for callback in value if isinstance(value, list) else [value]:
        if _class_name(callback) in ("BatchSizeFinder", "LearningRateFinder"):
            return (
                f"{_class_name(callback)} changes what config.yaml says of the run, which could then neither be repeated nor "
                "continued; set data.batch_size, or the optimizer's lr"
            )
    return None


FLAGS: dict[str, Flag] = {
    "accelerator": Flag("`auto`, `cpu`, `gpu`, `cuda` or `mps`, where the machine has it", _accelerator),
    "strategy": Flag(
        "`auto`, `ddp`, and the `ddp` variants for unused parameters; processes are started by the command or by a launcher",
        _strategy,
    ),
    "devices": Flag("the number of processes or of GPUs, or a list of GPUs", _devices),
    "num_nodes": Flag("under a launcher (`torchrun`, SLURM) that starts the command on every machine"),
    "precision": Flag("`32-true`, `bf16-mixed`, `16-mixed`, `64-true`; see promise 5"),
    "logger": Flag("`false` and `null`; loggers are chosen with `--logger tensorboard`, `wandb`, `mlflow` or `trackio`"),
    "callbacks": Flag(
        "Lightning's and your own, in addition to noisylab's; `callbacks+` adds to a list; "
        "refused: batch size finders and learning rate finders",
        _callbacks,
    ),
    "fast_dev_run": Flag("trains and evaluates this many batches, without run folder, checkpoints or loggers"),
    "max_epochs": Flag("100 unless the recipe says otherwise; 0 trains nothing"),
    "min_epochs": Flag("an early stop waits for it"),
    "max_steps": Flag("ends the run after this many batches, even in the middle of an epoch"),
    "min_steps": Flag("an early stop waits for it"),
    "max_time": Flag("ends the run at a step; a resume continues there, with the time that is left of a new limit", _max_time),
    "limit_train_batches": Flag("the first batches of each epoch's plan: a share or a number"),
    "limit_val_batches": Flag("the same for the validation and test data of each epoch; 0 evaluates nothing"),
    "limit_test_batches": Flag("the same for `noisylab test`"),
    "limit_predict_batches": Flag("the same for `noisylab predict`"),
    "overfit_batches": Flag("refused: each epoch's plan draws new batches; use `--data.subset 64` instead", _overfit),
    "val_check_interval": Flag("a share of an epoch or a number of batches; refused: a time interval", _val_check_interval),
    "check_val_every_n_epoch": Flag("at least 1; `null` lets `val_check_interval` count over epochs"),
    "num_sanity_val_steps": Flag("0 unless given"),
    "log_every_n_steps": Flag("also logs means over this many steps; `null` and 0 log epochs only"),
    "enable_checkpointing": Flag(
        "`false` is refused, since `--resume` and `noisylab test` need the checkpoints",
        _only(True, why="a run folder is its checkpoints; to try something out: --trainer.fast_dev_run true, or --dry_run"),
    ),
    "enable_progress_bar": Flag("`false` shows none"),
    "enable_model_summary": Flag("`true` prints Lightning's table of layers"),
    "accumulate_grad_batches": Flag("for methods with automatic optimization; others say what to set instead"),
    "gradient_clip_val": Flag("for methods with automatic optimization; others have `model.clip_norm`"),
    "gradient_clip_algorithm": Flag("`norm` or `value`, for `gradient_clip_val`"),
    "deterministic": Flag("as in Lightning"),
    "benchmark": Flag("as in Lightning"),
    "inference_mode": Flag("as in Lightning"),
    "use_distributed_sampler": Flag("has no effect: the epoch's plan divides its rows among the processes"),
    "profiler": Flag("as in Lightning; its files go into the run folder"),
    "detect_anomaly": Flag("as in Lightning"),
    "barebones": Flag(
        "refused: it turns off everything that a run folder is made from",
        _only(False, why="it turns checkpoints, evaluation and logging off; to time steps: python benchmarks/loop.py"),
    ),
    "plugins": Flag("precision and cluster plugins; refused: checkpoint plugins", _plugins),
    "sync_batchnorm": Flag("batch normalization over the whole batch of all processes, also on the CPU; see promise 4"),
    "reload_dataloaders_every_n_epochs": Flag(
        "only 0 and 1 are accepted: it is always 1, since every epoch has its own plan",
        _only(0, 1, why="every epoch has a plan and loaders of its own; leave it out"),
    ),
    "default_root_dir": Flag("refused: `--run_dir` names the run folder", _only(why="the run folder is named with --run_dir")),
    "enable_autolog_hparams": Flag("as in Lightning; the configuration is always logged"),
    "model_registry": Flag(
        "refused: it uploads the checkpoints of a callback that noisylab does not use",
        _only(why="it uploads checkpoints of a callback that noisylab does not use; upload RUN/checkpoints/last.ckpt"),
    ),
}


def check_trainer(given: Mapping[str, Any]) -> None:
    """Refuse a flag of the Trainer that does not work here.

    Args:
        given: flags by name.

    Raises:
        UserError: naming the flag, its value, the reason and what to do.
    """
    for name, value in given.items():
        # what depends on others is looked at where one of them is given
        why = FLAGS[name].refuse(value, given) if value is not None else None
        if why is not None:
            raise UserError(f"trainer.{name}={_shown(value)}: {why}")


def _shown(value: Any) -> str:
    """As it is written on the command line."""
    if isinstance(value, Mapping) and "class_path" in value:
        return str(value["class_path"])
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):
        return ", ".join(map(_shown, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _monitors(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(class, name) of all callbacks that follow a logged number."""
    callbacks = given.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        monitor = (callback.get("init_args") or {}).get("monitor") if isinstance(callback, Mapping) else None
        if isinstance(monitor, str):
            yield _class_name(callback), monitor


def check_monitors(given: Mapping[str, Any], held_out: bool) -> None:
    """Refuse callbacks that monitor a number that no run logs.

    Args:
        given: flags of the Trainer.
        held_out: whether rows are held out to validate on.

    Raises:
        UserError: naming the callback and what it could follow.
    """
    for name, monitor in _monitors(given):
        if "/" not in monitor:
            stage, _, what = monitor.partition("_")
            guess = f"{stage}/{what}" if stage in ("train", "val") and what else "val/acc"
            raise UserError(
                f"trainer.callbacks: {name} monitors {monitor!r}, which is not logged; names have the form stage/what\n"
                f"  perhaps: {guess}; all names of a run are in its metrics.csv"
            )
        if monitor.startswith("val/") and not held_out:
            raise UserError(
                f"trainer.callbacks: {name} monitors {monitor!r}, but no rows are held out for validation\n"
                "  set data.val_fraction to 0.1"
            )


def not_logged(error: Exception) -> UserError | None:
    """The error for a callback that monitors a number that this run does not log; None for other errors."""
    first, _, rest = str(error).partition(" which is not available.")
    if not isinstance(error, RuntimeError) or not rest or "conditioned on metric" not in first:
        return None
    monitor, logged = first.split("`")[1], rest.partition("following:")[2].replace("`", "").split(", ")
    near = nearest(monitor, [name.strip() for name in logged])
    return UserError(
        f"trainer.callbacks: EarlyStopping monitors {monitor!r}, which this run does not log\n"
        f"  nearest: {', '.join(near) or 'val/acc'}; all names are in metrics.csv"
    )


def check_callbacks(callbacks: list[L.Callback], loggers: bool, method: L.LightningModule, epochs: int | None = None) -> None:
    """Refuse, before a run folder is created, a callback that cannot work or that every run already has.

    Args:
        callbacks: those of the configuration.
        loggers: whether there is one.
        method: to be trained.
        epochs: of the run; None for no limit.

    Raises:
        UserError: naming it.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, _OWN):
            raise UserError(
                f"trainer.callbacks: every run has a {name} of its own; leave it out (--checkpoint sets how often it saves)"
            )
        if isinstance(callback, LabelWave):
            try:
                callback.check(method, epochs)
            except ValueError as error:
                raise UserError(f"trainer.callbacks: {error}") from error
        if isinstance(callback, BackboneFinetuning) and not isinstance(getattr(method, "backbone", None), nn.Module):
            raise UserError(
                f"trainer.callbacks: {name} trains a module of the method called backbone, and {type(method).__name__} has none\n"
                "  leave it out; to keep the weights of a pretrained network as they are: --model.network.freeze all_but_head"
            )
    if not loggers and any(isinstance(callback, LearningRateMonitor) for callback in callbacks):
        raise UserError(
            "trainer.callbacks: LearningRateMonitor sends its numbers to a logger, and there is none\n"
            "  add --logger tensorboard, or leave it out: lr/NETWORK is in metrics.csv in any case"
        )
