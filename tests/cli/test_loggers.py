"""TensorBoard and Weights & Biases: names, axes, one run of W&B for one run folder, what it came to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import PlainMLP, ToyData
from lightning.pytorch.loggers import CSVLogger

from noisylab.cli.running.loggers import RunWandb, log_outcome, make_logger, run_name
from noisylab.methods import CrossEntropy
from noisylab.noise import Symmetric

wandb = pytest.importorskip("wandb")


class _Run:
    """A run of W&B without a service behind it."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.summary = settings, {}  # type: ignore[var-annotated]
        self.axes: dict[str, str | None] = {}
        self.logged: list[dict[str, Any]] = []

    def define_metric(self, name: str, step_metric: str | None = None, **_: Any) -> None:
        self.axes[name] = step_metric

    def log(self, values: dict[str, Any], **_: Any) -> None:
        self.logged.append(values)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[_Run]:
    runs: list[_Run] = []
    monkeypatch.setattr("wandb.init", lambda **settings: runs.append(_Run(**settings)) or runs[-1])
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("NETRC", raising=False)
    return runs


def _data(**more: Any) -> ToyData:
    return ToyData(noise=Symmetric(0.4), seed=3, **more)


def test_a_run_is_named_by_recipe_noise_and_seed() -> None:
    method = CrossEntropy(3, PlainMLP)
    assert run_name("act_digits", method, _data()) == "act_digits sym0.4 seed3"
    assert run_name("", method, ToyData(seed=1)) == "CrossEntropy given seed1"
    assert run_name("ce", method, _data(folds=5, fold=2)) == "ce sym0.4 seed3 fold2"


def test_wandb_gets_the_name_and_what_runs_are_grouped_by(tmp_path: Path, started: list[_Run]) -> None:
    logger = make_logger("wandb", tmp_path, "act_digits", CrossEntropy(3, PlainMLP), _data())
    _ = logger.experiment  # type: ignore[attr-defined]
    settings = started[0].settings
    assert (settings["name"], settings["group"]) == ("act_digits sym0.4 seed3", "act_digits sym0.4")
    assert settings["tags"] == ["CrossEntropy", "ToyData", "sym0.4"] and settings["project"] == "noisylab"


def test_epochs_are_the_axis_of_epoch_metrics_and_steps_of_step_metrics(tmp_path: Path, started: list[_Run]) -> None:
    logger = RunWandb(tmp_path, offline=True)
    logger.log_metrics({"train/loss_step": 1.0}, step=5)
    axes = started[0].axes
    assert axes["val/*"] == axes["train/*"] == axes["memorization/*"] == "epoch"
    assert axes["train/loss_step"] == "trainer/global_step"
    assert started[0].logged == [{"train/loss_step": 1.0, "trainer/global_step": 5}]


@pytest.mark.parametrize("kind", ["", "offline-"])
def test_a_resume_goes_on_with_the_run_of_the_folder(kind: str, tmp_path: Path, started: list[_Run]) -> None:
    _ = RunWandb(tmp_path, offline=True).experiment
    assert started[0].settings["id"] is None
    (tmp_path / "wandb" / f"{kind}run-20261130_101500-k3x9-a7").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").mkdir()
    _ = RunWandb(tmp_path, offline=True).experiment
    assert started[1].settings["id"] == "k3x9-a7" and started[1].settings["resume"] == "allow"


@pytest.mark.parametrize(
    ("environment", "offline", "said"),
    [
        ({}, True, True),
        ({"WANDB_API_KEY": "x" * 40}, False, False),
        ({"NETRC": "logged in"}, False, False),
        ({"WANDB_MODE": "offline"}, True, False),
        ({"WANDB_MODE": "disabled"}, False, False),
        ({"WANDB_MODE": "online"}, False, False),
    ],
)
def test_without_a_login_the_run_is_kept_here_and_that_is_said(
    environment: dict[str, str], offline: bool, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / "netrc") if name == "NETRC" else value)
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'x' * 40}\n")
    logger = make_logger("wandb", tmp_path, "", CrossEntropy(3, PlainMLP), _data())
    error = capsys.readouterr().err
    assert logger._offline is offline and ("wandb sync" in error) is said  # type: ignore[attr-defined]


def test_what_a_run_came_to_is_its_summary_in_wandb(tmp_path: Path, started: list[_Run]) -> None:
    test = {"headline": {"last": 0.7, "last10_mean": 0.75, "last10_std": 0.01, "best": 0.8, "best_by_val": None}}
    summary = {"headline": 0.75, "test": test, "noise": {"measured_rate": 0.39}, "ended_by": "max_epochs"}
    trainer: Any = SimpleNamespace(loggers=[RunWandb(tmp_path, offline=True), CSVLogger(tmp_path)], global_step=9)
    log_outcome(summary, trainer)
    assert started[0].summary == {
        "headline": 0.75,
        "measured_noise_rate": 0.39,
        "last": 0.7,
        "last10_mean": 0.75,
        "last10_std": 0.01,
        "best": 0.8,
        "ended_by": "max_epochs",
    }
