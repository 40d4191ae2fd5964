"""MLflow: what its logger asks of the client, where a store is shared, remote or another than before."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from helpers import PlainMLP, ToyData

from noisylab.cli.errors import UserError
from noisylab.cli.running.loggers import check_installed, make_logger
from noisylab.cli.running.loggers.identity import keep, kept
from noisylab.methods import CrossEntropy
from noisylab.noise import Symmetric


class _Error(Exception):
    def __init__(self, error_code: str) -> None:
        super().__init__(error_code)
        self.error_code = error_code


class _Param(NamedTuple):
    key: str
    value: str


class _Metric(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class _Store:
    """MLflow's client and the store behind it, in memory."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, Any] = {}
        self.faster = False  # whether another process makes the experiment first
        self.batches: list[int] = []

    def __call__(self, uri: str) -> _Store:
        self.uris.append(uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        number = self.experiments.setdefault(name, str(len(self.experiments)))
        if self.faster:
            raise _Error("RESOURCE_ALREADY_EXISTS")
        return number

    def create_run(self, experiment_id: str, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(run_id=f"run{len(self.runs)}", lifecycle_stage="active", status="RUNNING", name=run_name)
        run = SimpleNamespace(info=info, data=SimpleNamespace(params={}, tags=tags, metrics=[]), experiment=experiment_id)
        self.runs[info.run_id] = run
        return run

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise _Error("RESOURCE_DOES_NOT_EXIST")
        return self.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.runs[run_id].data.tags[key] = value

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.batches.append(len(params) or len(metrics))
        self.runs[run_id].data.params |= dict(params)
        self.runs[run_id].data.metrics += metrics

    def get_metric_history(self, run_id: str, key: str) -> list[_Metric]:
        return [metric for metric in self.runs[run_id].data.metrics if metric.key == key]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> _Store:
    found = _Store()
    for name, content in {
        "mlflow": {},
        "mlflow.tracking": {"MlflowClient": found},
        "mlflow.exceptions": {"MlflowException": _Error},
        "mlflow.entities": {"Param": _Param, "Metric": _Metric},
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))  # type: ignore[arg-type]
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "NOISYLAB_STUDY"):
        monkeypatch.delenv(variable, raising=False)
    return found


def _logger(folder: Path) -> Any:
    return make_logger("mlflow", folder, "act_digits", CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.4), seed=3))


def test_without_an_address_the_store_is_in_the_run_folder_and_that_is_said(
    store: _Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ = _logger(tmp_path).experiment
    assert "MLFLOW_TRACKING_URI" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    _ = _logger(tmp_path / "other").experiment
    assert not capsys.readouterr().err
    assert store.uris == [f"sqlite:///{tmp_path / 'mlflow.db'}", "http://server:5000"]


def test_an_experiment_that_another_run_made_meanwhile_is_used(store: _Store, tmp_path: Path) -> None:
    store.faster = True
    _ = _logger(tmp_path).experiment
    assert store.experiments == {"noisylab": "0"} and store.runs["run0"].experiment == "0"


def test_two_runs_do_not_make_the_tables_of_one_file_at_once(
    store: _Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'shared' / 'm.db'}")

    class Refused(Exception):
        pass

    def tried(name: str) -> None:  # another process asks for the lock while this one makes its experiment
        with (tmp_path / "shared" / ".m.db.lock").open("ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise Refused

    monkeypatch.setattr(store, "get_experiment_by_name", tried)
    with pytest.raises(Refused):
        _ = _logger(tmp_path / "run").experiment
    with (tmp_path / "shared" / ".m.db.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back


def test_a_resume_goes_on_with_the_run(store: _Store, tmp_path: Path) -> None:
    first = _logger(tmp_path)
    first.log_metrics({"val/acc": 0.5, "epoch": 0}, step=3)
    first.log_metrics({"val/acc": 0.6, "epoch": 1}, step=7)
    first.finalize("failed")
    assert store.runs["run0"].info.status == "FAILED"
    second = _logger(tmp_path)
    second.log_metrics({"val/acc": 0.6, "epoch": 1}, step=7)  # as before
    second.log_metrics({"val/acc": 0.7, "epoch": 2, "test/acc": 0.8}, step=11)
    assert store.runs["run0"].info.status == "RUNNING"
    second.finalize("success")
    assert list(store.runs) == ["run0"] and store.runs["run0"].info.status == "FINISHED"
    logged = [(metric.key, metric.step, metric.value) for metric in store.runs["run0"].data.metrics]
    assert logged == [("val/acc", 0, 0.5), ("val/acc", 1, 0.6), ("val/acc", 2, 0.7), ("test/acc", 2, 0.8)]


def test_a_value_that_came_out_otherwise_is_logged(store: _Store, tmp_path: Path) -> None:
    _logger(tmp_path).log_metrics({"val/acc": 0.5, "epoch": 0})
    _logger(tmp_path).log_metrics({"val/acc": 0.51, "epoch": 0})
    assert [metric.value for metric in store.runs["run0"].data.metrics] == [0.5, 0.51]


def test_a_store_that_does_not_know_the_run_gets_a_new_one_and_that_is_said(
    store: _Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path, "mlflow", {"run_id": "elsewhere"})
    _ = _logger(tmp_path).experiment
    assert "elsewhere" in capsys.readouterr().err and kept(tmp_path, "mlflow") == {"run_id": "run0"}


def test_a_store_that_does_not_answer_is_no_reason_to_begin_a_new_run(
    store: _Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, "mlflow", {"run_id": "run0"})

    def broken(run_id: str) -> None:
        raise _Error("INTERNAL_ERROR")

    monkeypatch.setattr(store, "get_run", broken)
    with pytest.raises(_Error):
        _ = _logger(tmp_path).experiment
    assert kept(tmp_path, "mlflow") == {"run_id": "run0"} and not store.runs


def test_settings_are_parameters_and_what_a_resume_changed_is_a_tag(store: _Store, tmp_path: Path) -> None:
    many = {f"s{number}": number for number in range(150)}
    _logger(tmp_path).log_hyperparams({"model": {"class_path": "ELR", "beta": 0.7}, "rows": [1, 2], "long": "x" * 7000, **many})
    _logger(tmp_path).log_hyperparams({"model": {"class_path": "ELR", "beta": 0.8}, "new": None})
    params, tags = store.runs["run0"].data.params, store.runs["run0"].data.tags
    assert (params["model.beta"], params["rows"], params["new"], params["s149"]) == ("0.7", "[1, 2]", "null", "149")
    assert len(params["long"]) == 6000 and params["long"].endswith("…")
    assert tags["noisylab.resumed.model.beta"] == "0.8" and "noisylab.resumed.model.class_path" not in tags
    assert max(store.batches) == 100


@pytest.mark.parametrize(("address", "needs_more"), [(None, True), ("sqlite:///m.db", True), ("https://server", False)])
def test_only_a_store_on_this_machine_needs_more_than_the_client(
    address: str | None, needs_more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if address is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr("importlib.util.find_spec", lambda package: True if package == "mlflow" else None)
    if needs_more:
        with pytest.raises(UserError, match="needs the package sqlalchemy"):
            check_installed("mlflow")
    else:
        check_installed("mlflow")
