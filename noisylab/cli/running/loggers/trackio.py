"""Trackio: parameters, numbers over the epochs and the outcome of a run, in one run of it."""

from __future__ import annotations

import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from noisylab.cli.running.loggers.base import Dashboard, split_by_axis
from noisylab.cli.running.loggers.identity import keep, kept
from noisylab.cli.running.loggers.naming import RunLabel, flat

__all__ = ["RunTrackio"]

_PROJECT = "noisylab"


class RunTrackio(Dashboard, Logger):
    """A run of Trackio for a run folder.

    Where it is kept is Trackio's own business: ``TRACKIO_DIR``, ``TRACKIO_SPACE_ID`` and ``TRACKIO_SERVER_URL``. The project is
    ``TRACKIO_PROJECT``, else "noisylab". Trackio continues runs by their name; so the name ends with a random number, and is kept
    with the project in ``loggers.json`` of the run folder. A step of Trackio is an epoch, except for means over steps.

    Args:
        folder: of the run.
        label: names and groups it.
    """

    def __init__(self, folder: Path, label: RunLabel) -> None:
        super().__init__()
        self._folder, self._label = folder, label
        before = kept(folder, "trackio")
        self._continues = bool(before)
        self.run_name = before.get("name") or f"{label.title} {secrets.token_hex(3)}"
        self._project = before.get("project") or os.environ.get("TRACKIO_PROJECT") or _PROJECT
        self._run: Any = None
        self._config: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str:
        """The run's name."""
        return self.run_name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Trackio's run."""
        if self._run is None:
            import trackio

            keep(self._folder, "trackio", {"name": self.run_name, "project": self._project})
            with redirect_stdout(sys.stderr):  # standard output says where the run folder is
                self._run = trackio.init(
                    project=self._project,
                    name=self.run_name,
                    group=self._label.group,
                    config=self._config,
                    resume="allow" if self._continues else "never",
                    embed=False,
                )
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Take the settings, by their flags' names. Trackio sends them with the first numbers."""
        settings = flat(vars(params) if isinstance(params, Namespace) else params)
        self._config |= settings
        if self._run is not None:  # Lightning begins the run of a resume before its checkpoint is known to fit
            self._run.config.update(settings)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at their epoch."""
        for place, values in split_by_axis(metrics, step):
            self.experiment.log(values, step=place)

    @rank_zero_only
    def log_outcome(self, figures: Mapping[str, float], ended_by: str | None, step: int, epoch: int) -> None:
        """Log them below ``outcome``, and end the run."""
        self.experiment.log({f"outcome/{name}": value for name, value in figures.items()}, step=epoch)
        self._end()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run where it was stopped; one that came to its end still has its outcome to log."""
        if status != "success":
            self._end()

    def _end(self) -> None:
        run, self._run, self._continues = self._run, None, True
        if run is not None:
            with redirect_stdout(sys.stderr):
                run.finish()
