"""Dashboards in addition to the run's own curves: names, groups and axes, one run of theirs for a run folder, final results."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from noisylab.callbacks import Curves
from noisylab.cli.errors import UserError
from noisylab.cli.running.loggers.base import Dashboard
from noisylab.cli.running.loggers.naming import label_of, readable, run_name
from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod

__all__ = [
    "LOGGERS",
    "check_installed",
    "end_runs",
    "log_outcome",
    "log_settings",
    "make_logger",
    "measured",
    "resume_at",
    "run_name",
]

LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""What ``--logger`` takes, beside csv: names of packages and of the extras that bring them."""


def check_installed(name: str) -> None:
    """Refuse a logger whose package is not there.

    Raises:
        UserError: naming the extra.
    """
    own_store = "://" not in os.environ.get("MLFLOW_TRACKING_URI", "") or os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite")
    needed = ("mlflow", "sqlalchemy", "alembic") if name == "mlflow" and own_store else (name,)
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f'--logger {name} needs the package {missing[0]}, which is not installed: pip install "noisylab[{name}]"')


def make_logger(name: str, folder: Path, recipe: str, method: NoisyLabelMethod, data: NoisyDataModule) -> Logger:
    """The logger of a run.

    Args:
        name: one of `LOGGERS`.
        folder: of the run.
        recipe: its name; may be empty.
        method: names the run, with the data.
        data: the same.
    """
    label = label_of(recipe, method, data)
    if name == "wandb":
        from noisylab.cli.running.loggers.wandb import wandb_logger

        return wandb_logger(folder, label)
    if name == "mlflow":
        from noisylab.cli.running.loggers.mlflow import RunMLflow

        return RunMLflow(folder, label)
    if name == "trackio":
        from noisylab.cli.running.loggers.trackio import RunTrackio

        return RunTrackio(folder, label)
    from noisylab.cli.running.loggers.tensorboard import RunTensorBoard

    return RunTensorBoard(folder, label)


def measured(data: NoisyDataModule) -> float | None:
    """Fraction of labels that the noise changed; None without noise or before `setup`."""
    return None if data.noisy is None else float(data.noisy.measured_rate)


def log_settings(config: Mapping[str, Any], trainer: L.Trainer, method: NoisyLabelMethod, data: NoisyDataModule) -> None:
    """Hand a run's configuration to its loggers, by the names of the flags, with what tells the run from others on top.

    Args:
        config: as in ``config.yaml``.
        trainer: of the run.
        method: of the run.
        data: likewise, set up.
    """
    label = label_of(str(config.get("recipe") or ""), method, data)
    settings = {**label.facts, **readable(config), "measured_noise_rate": measured(data)}
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)


def resume_at(trainer: L.Trainer) -> None:
    """Tell the loggers of a resumed run, before it logs anything, from which step on all numbers come again.

    Args:
        trainer: at the step of the checkpoint.
    """
    step = trainer.global_step
    rows = [row for curves in trainer.callbacks if isinstance(curves, Curves) for row in curves.rows]  # type: ignore[attr-defined]
    # a mean over steps that was logged at this very step, before the checkpoint, does not come again
    done = any(place == step and name.endswith("_step") for _, place, name, _ in rows)
    for logger in trainer.loggers:
        if isinstance(logger, Dashboard):
            logger.resume_at(step + done)


def log_outcome(summary: Mapping[str, Any], trainer: L.Trainer) -> None:
    """Send the results of a run, from its ``summary.json``, to the loggers that accept them.

    W&B gets ``headline``, ``last10_mean``, ``last10_std``, ``best``, ``best_by_val`` and ``measured_noise_rate`` as the run's
    summary, by which its table sorts; the others those that are numbers, below ``outcome``.
    """
    if "headline" not in summary:
        return
    test, noise = summary["test"]["headline"], summary.get("noise", {})
    figures = {"headline": summary["headline"], "measured_noise_rate": noise.get("measured_rate")}
    figures |= {name: test.get(name) for name in ("last", "last10_mean", "last10_std", "best", "best_by_val")}
    found = {name: value for name, value in figures.items() if value is not None}
    for logger in trainer.loggers:
        if isinstance(logger, Dashboard):
            step, epoch = max(trainer.global_step - 1, 0), max(trainer.current_epoch - 1, 0)
            logger.log_outcome(found, summary.get("ended_by"), step, epoch)


def end_runs(names: tuple[str, ...] | list[str]) -> None:
    """Let the next run of this process begin a run of its own in W&B and Trackio.

    Args:
        names: of the loggers in use.
    """
    if "wandb" in names and "wandb" in sys.modules:
        sys.modules["wandb"].finish()  # the next logger would go on writing into this run
    # Trackio's logger ends its run itself, and those of the others belong to nobody but them
