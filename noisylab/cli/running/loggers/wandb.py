"""Weights & Biases: one run of it for a run folder, grouped by study, drawn over the epochs."""

from __future__ import annotations

import netrc
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from noisylab.cli.running.loggers.base import Dashboard
from noisylab.cli.running.loggers.identity import keep, kept
from noisylab.cli.running.loggers.naming import RunLabel

__all__ = ["PROJECT", "RunWandb", "logged_in", "wandb_logger"]

PROJECT = "noisylab"
_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)")


def wandb_logger(folder: Path, label: RunLabel) -> RunWandb:
    """The logger of a run. What W&B's own environment variables say wins over the label.

    Args:
        folder: of the run.
        label: names and groups it.
    """
    named = {"name": ("WANDB_NAME", label.title), "group": ("WANDB_RUN_GROUP", label.group)}
    named["job_type"] = ("WANDB_JOB_TYPE", label.method)
    settings = {key: value for key, (variable, value) in named.items() if not os.environ.get(variable)}
    tags = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",")]
    tags = list(dict.fromkeys([*label.tags, *(tag for tag in tags if tag)]))
    return RunWandb(folder, tags=tags, offline=_offline(_place(folder)), **settings)


def _place(folder: Path) -> Path:
    """Where W&B keeps its folder of runs."""
    return Path(os.environ.get("WANDB_DIR") or folder)


def _offline(folder: Path) -> bool:
    """Whether the run is kept on this machine: as asked for, or where nobody is logged in, which is said."""
    mode = os.environ.get("WANDB_MODE")
    if mode or logged_in():
        return mode in ("offline", "dryrun")
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(
            f"W&B: not logged in, so the run is kept in {folder / 'wandb'}; later: wandb login, then "
            f"wandb sync {folder / 'wandb'}/offline-run-*\n"
            "  WANDB_MODE=offline or disabled chooses in advance; WANDB_API_KEY logs you in",
            file=sys.stderr,
        )
    return True


def logged_in() -> bool:
    """Whether W&B finds a key, where its ``wandb login`` puts it; W&B itself would ask for one and wait for a terminal."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in files if name):
        try:
            if file.is_file() and netrc.netrc(file).authenticators(host):
                return True
        except (netrc.NetrcParseError, OSError, UnicodeError):
            continue
    return False


class RunWandb(Dashboard, WandbLogger):
    """A run of W&B for a run folder: a resumed run continues it, and per-epoch numbers are plotted over the epoch.

    The run's id is drawn here and kept in ``loggers.json`` of the run folder before anything is logged, so that it outlives W&B's
    own folder and is there when W&B was disabled at first. ``WANDB_RUN_ID``, which the agent of a sweep sets, wins.

    Args:
        folder: of the run.
        **kwargs: of `WandbLogger`.
    """

    def __init__(self, folder: Path, **kwargs: Any) -> None:
        self._folder = folder
        self._axes: set[str] = set()
        before = kept(folder, "wandb")
        self.run_id = os.environ.get("WANDB_RUN_ID") or before.get("id") or self._older_id() or secrets.token_hex(8)
        project = os.environ.get("WANDB_PROJECT") or before.get("project") or PROJECT
        super().__init__(save_dir=_place(folder), id=self.run_id, project=project, **kwargs)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run."""
        if not self._axes:
            keep(self._folder, "wandb", {"id": self.run_id, "project": str(self.name)})
        run = super().experiment
        if not self._axes:
            self._axes.add("epoch")
            run.define_metric("epoch")
        return run

    def _older_id(self) -> str | None:
        """The id of a run that an older version left in the folder: W&B names what it keeps by it."""
        found = sorted((self._folder / "wandb").glob("*run-*"), key=lambda path: path.name.removeprefix("offline-"))
        ids = [match.group(1) for path in found if (match := _RUN.fullmatch(path.name))]
        return ids[-1] if ids else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; the epoch is the axis of each group, the step that of step means."""
        run = self.experiment
        for name in metrics:
            group, slash, _ = name.partition("/")
            if name.endswith("_step"):
                self._define(run, name, "trainer/global_step")
            elif slash:
                self._define(run, f"{group}/*", "epoch")
        super().log_metrics(metrics, step)

    def _define(self, run: Any, name: str, axis: str) -> None:
        if name not in self._axes:
            self._axes.add(name)
            run.define_metric(name, step_metric=axis, step_sync=True)

    @rank_zero_only
    def log_outcome(self, figures: Mapping[str, float], ended_by: str | None, step: int, epoch: int) -> None:
        """Make them the run's summary, by which W&B's table sorts."""
        self.experiment.summary.update({**figures, "ended_by": ended_by})

    @rank_zero_only
    def show(self, name: str, picture: Path, step: int) -> None:
        """Log a picture."""
        self.log_image(name, [str(picture)], step=step)
