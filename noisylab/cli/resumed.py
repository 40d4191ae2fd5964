"""What a run that is resumed may change, and what would make another run of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisylab.cli.app import config_text
from noisylab.cli.config import compose
from noisylab.cli.errors import UserError
from noisylab.cli.origin import absolute_paths
from noisylab.cli.recipes import load_yaml

__all__ = ["check_same_run"]

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
    *("root", "path", "images", "test_images", "labels_csv", "trusted_labels", "cache", "download"),
)
_FREE = ("recipe", "speed", "checkpoint", "ckpt_path", *(f"trainer.{key}" for key in _TRAINER), *(f"data.{key}" for key in _DATA))


def check_same_run(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a resume that would change what the run is: its method, labels, rows, seed, or schedule.

    Args:
        folder: of the run.
        config: composed for the resume.

    Raises:
        UserError: naming up to four keys with both values.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return
    before = compose([str(file)], []).config
    before.pop("ckpt_path", None)
    if before == config:
        return
    whole = [load_yaml(config_text(which), str(file)) for which in (before, config)]
    for which in whole:
        absolute_paths(which["data"])
    old, new = (dict(_flat(which)) for which in whole)
    changed = [key for key in sorted(old | new) if old.get(key) != new.get(key) and not _may_change(key)]
    if changed:
        shown = [f"{key} {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:_SHOWN]]
        more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise UserError(
            f"--resume goes on with the run in {folder} as it began, but this command changes {'; '.join(shown)}{more}\n"
            "  leave that out, or start a run of its own in another --run_dir. What may change: how long, where and how fast it\n"
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
