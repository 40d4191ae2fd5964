"""The configuration kept in a run folder: whether it is intact, and which values a resumed run may change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import absolute_paths
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.starts import absolute_starts
from noisylab.cli.errors import UserError, short
from noisylab.cli.running.app import config_text

__all__ = ["WITHOUT_CONFIG", "check_epochs", "check_same_run", "check_stored"]

WITHOUT_CONFIG = (
    "delete that file, and resume with the recipe and the flags that the run was begun with (--config RECIPE ...);\n"
    "  its checkpoint tells whether method, classes and labels are the same"
)
"""What to do where the configuration of a run is damaged."""

_SHOWN = 4  # differences that are named
# how long, on what, how fast, how often saved and to whom reported
_TRAINER = (
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "accelerator", "devices", "num_nodes", "strategy"),
    *("precision", "callbacks", "plugins", "profiler", "log_every_n_steps", "default_root_dir", "deterministic", "benchmark"),
    *("detect_anomaly", "enable_model_summary", "enable_checkpointing", "barebones", "use_distributed_sampler", "sync_batchnorm"),
)
# how rows are read, and where they lie; that they are the same rows is checked against the checkpoint
_DATA = (
    *("num_workers", "eval_batch_size", "residency", "chunk_size", "persistent_workers", "prefetch_factor", "pin_memory"),
    *("root", "path", "images", "test_images", "labels_csv", "trusted_labels", "cache", "download", "table", "test_table"),
)
_FREE = ("recipe", "speed", "checkpoint", "ckpt_path", *(f"trainer.{key}" for key in _TRAINER), *(f"data.{key}" for key in _DATA))


def check_stored(folder: Path, instead: str) -> Path:
    """The ``config.yaml`` of a run, if it is the whole configuration of one.

    Args:
        folder: of the run, with such a file.
        instead: what to do without it, for the error.

    Raises:
        UserError: when it is empty or damaged.
    """
    file = folder / "config.yaml"
    try:
        found = load_yaml(text_of(file), str(file)) or {}
        missing = [key for key in ("model", "data") if not (isinstance(found, dict) and _names_a_class(found.get(key)))]
        wrong = "it is empty" if found == {} else f"it names no {missing[0]}" if missing else ""
    except UserError as error:
        wrong = short(error, 1).removeprefix(f"{file}: ")
    if wrong:
        raise UserError(f"{file} is not as noisylab wrote it: {wrong}\n  {instead}")
    return file


def _names_a_class(node: Any) -> bool:
    return isinstance(node, str) or (isinstance(node, dict) and isinstance(node.get("class_path"), str))


def check_epochs(checkpoint: str | Path, trainer: Mapping[str, Any]) -> None:
    """Refuse to resume with fewer epochs or steps than have been trained already.

    Args:
        checkpoint: to go on from, which is readable.
        trainer: flags by name.

    Raises:
        UserError: naming both numbers.
    """
    loop: Any = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    steps, loop = loop.get("global_step"), (loop.get("loops") or {}).get("fit_loop") or {}
    epochs, batches = ((loop.get(name) or {}) for name in ("epoch_progress", "epoch_loop.batch_progress"))
    done = {"max_epochs": (epochs.get("current") or {}).get("started")}
    if isinstance(steps, int):  # a batch may have several: the last of a run may be one more than were asked for
        done["max_steps"] = min(steps, (batches.get("total") or {}).get("started", steps))
    for name, number in done.items():
        most = trainer.get(name)
        if isinstance(most, int) and isinstance(number, int) and 0 <= most < number:
            what = f"{number} {name.removeprefix('max_')}"
            raise UserError(
                f"trainer.{name}={most}: {checkpoint} has finished or begun {what}, and a run cannot be made shorter\n"
                f"  give {number} or more, or leave it out; for a shorter run, start a new one in another --run_dir"
            )


def check_same_run(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a resume that would change what the run is: its method, labels, rows, seed, or schedule.

    Args:
        folder: of the run.
        config: composed for the resume.

    Raises:
        UserError: naming up to four keys with both values.
    """
    file = folder / "config.yaml"
    if not os.path.lexists(file):
        return  # the checkpoint knows the method, its classes and the rows
    check_stored(folder, WITHOUT_CONFIG)
    before = compose([str(file)], []).config
    before.pop("ckpt_path", None)
    if before == config:
        return
    whole = [load_yaml(config_text(which), str(file)) for which in (before, config)]
    for which in whole:
        absolute_paths(which["data"])
        absolute_starts(which)
        for start in which.get("init_from") or ():
            start.pop("sha256", None)  # which the run wrote down itself
    old, new = (dict(_flat(which)) for which in whole)
    changed = [key for key in sorted(old | new) if old.get(key) != new.get(key) and not _may_change(key)]
    if changed:
        shown = [f"{key} {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:_SHOWN]]
        more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise UserError(
            f"--resume continues the run in {folder} as it began, but this command changes {'; '.join(shown)}{more}\n"
            "  leave that out, or start a new run in another --run_dir. What may change: how long, where and how fast it\n"
            "  trains (trainer.max_epochs, trainer.devices, speed, data.num_workers), how often it saves, and its loggers"
        )


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf, without the levels named init_args."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, at if key == "init_args" else f"{at}.{key}".lstrip("."))
    else:
        yield at, value


def _may_change(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)
