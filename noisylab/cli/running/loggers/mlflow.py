"""MLflow: parameters, numbers over the epochs and the outcome of a run, in one run of it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from noisylab.cli.running.loggers.base import Dashboard, split_by_axis
from noisylab.cli.running.loggers.identity import keep, kept
from noisylab.cli.running.loggers.naming import RunLabel, flat

__all__ = ["RunMLflow"]

_EXPERIMENT = "noisylab"
_STORE = "mlflow.db"
_FILE = "sqlite:///"
_LONGEST = 6000  # characters of a parameter's value
_AT_ONCE = 100  # parameters of a request
_STATUS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED"}


class RunMLflow(Dashboard, Logger):
    """A run of MLflow for a run folder, through a client of its own: nothing of MLflow's global state is changed.

    It is written to ``MLFLOW_TRACKING_URI`` or, where that is not set, to ``mlflow.db`` in the run folder; into the experiment
    ``MLFLOW_EXPERIMENT_NAME``, else "noisylab". Its id is kept in ``loggers.json`` of the run folder. A step of MLflow is an
    epoch, except for means over steps.

    Args:
        folder: of the run.
        label: names and tags it.
    """

    def __init__(self, folder: Path, label: RunLabel) -> None:
        super().__init__()
        self._folder, self._label = folder, label
        chosen = os.environ.get("MLFLOW_TRACKING_URI")
        self.tracking_uri = chosen or f"{_FILE}{(folder / _STORE).absolute()}"
        self._shared = chosen is not None
        self._client: Any = None
        self._run_id = ""
        self._before: dict[str, set[tuple[int, float]]] | None = None  # by metric, where the run is continued
        if chosen is None and getattr(rank_zero_only, "rank", 0) == 0:
            print(
                f"MLflow: kept in {folder / _STORE}; MLFLOW_TRACKING_URI=sqlite:///mlflow.db, or a server's address, "
                "collects all runs in one place",
                file=sys.stderr,
            )

    @property
    def name(self) -> str:
        """The experiment's name."""
        return os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT

    @property
    def version(self) -> str | None:
        """The run's id; None before anything is logged."""
        return self._run_id or None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client, with the run begun."""
        if self._client is None:
            from mlflow.tracking import MlflowClient

            with _alone(self.tracking_uri) if self._shared else contextlib.nullcontext():
                self._client = MlflowClient(self.tracking_uri)
                self._begin()
        return self._client

    def _begin(self) -> None:
        """Go on with the run that the folder knows, or begin one."""
        before = kept(self._folder, "mlflow").get("run_id")
        if before is not None and self._has(before):
            self._run_id, self._before = before, {}
            self._client.update_run(before, status="RUNNING")
            return
        if before is not None:
            lost = f"the run {before} of {self._folder} is not in {self.tracking_uri}"
            print(f"MLflow: {lost}: a new one begins there", file=sys.stderr)
        tags = {f"noisylab.{name}": str(value) for name, value in self._label.facts.items()}
        tags["noisylab.group"] = self._label.group
        run = self._client.create_run(self._experiment_id(), tags=tags, run_name=self._label.title)
        self._run_id = run.info.run_id
        keep(self._folder, "mlflow", {"run_id": self._run_id})

    def _has(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.name)
        if found is None:
            try:
                return str(self._client.create_experiment(self.name))
            except MlflowException as error:  # another run was faster
                found = self._client.get_experiment_by_name(self.name)
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                    raise
        return str(found.experiment_id)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log settings by their flags' names; those that a resume has changed as tags, as parameters of MLflow cannot change."""
        from mlflow.entities import Param

        client = self.experiment
        settings = {name: _text(value) for name, value in flat(vars(params) if isinstance(params, Namespace) else params).items()}
        there = client.get_run(self._run_id).data.params
        new = [Param(name, value) for name, value in settings.items() if name not in there]
        for place in range(0, len(new), _AT_ONCE):
            client.log_batch(self._run_id, params=new[place : place + _AT_ONCE])
        for name, value in settings.items():
            if there.get(name, value) != value:
                client.set_tag(self._run_id, f"noisylab.resumed.{name}", value)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at their epoch; what a killed run has logged before is not logged again."""
        for place, values in split_by_axis(metrics, step):
            self._log(values, place)

    def _log(self, values: Mapping[str, float], place: int) -> None:
        from mlflow.entities import Metric

        client, now = self.experiment, int(time.time() * 1000)
        new = [Metric(name, value, now, place) for name, value in values.items() if not self._logged(name, place, value)]
        if new:
            client.log_batch(self._run_id, metrics=new)

    def _logged(self, name: str, place: int, value: float) -> bool:
        """Whether a continued run has this number already; asked of MLflow once for each name."""
        if self._before is None:
            return False
        if name not in self._before:
            history = self._client.get_metric_history(self._run_id, name)
            self._before[name] = {(item.step, item.value) for item in history}
        return (place, value) in self._before[name]

    @rank_zero_only
    def log_outcome(self, figures: Mapping[str, float], ended_by: str | None, step: int, epoch: int) -> None:
        """Log them below ``outcome``."""
        self._log({f"outcome/{name}": value for name, value in figures.items()}, epoch)
        self.experiment.set_tag(self._run_id, "noisylab.ended_by", str(ended_by))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Mark the run as ended."""
        if self._client is not None:
            self._client.set_terminated(self._run_id, _STATUS.get(status, "FAILED"))


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Wait until no other run on this machine makes the tables of the same SQLite file: MLflow's own lock does not keep two
    processes that start at once from it, and one of them fails."""
    if not uri.startswith(_FILE):
        yield
        return
    database = Path(uri.removeprefix(_FILE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("ab") as file:
        with contextlib.suppress(ImportError):  # Windows has none
            fcntl: Any = importlib.import_module("fcntl")
            fcntl.flock(file, fcntl.LOCK_EX)  # given back as the file is closed, or the process is killed
        yield


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
