"""TensorBoard and Weights & Biases: names, axes, one run of W&B for one run folder, what it came to."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import PlainMLP, ToyData
from lightning.pytorch.loggers import CSVLogger

from noisylab.cli.errors import UserError
from noisylab.cli.running.loggers import LOGGERS, check_installed, log_outcome, make_logger, run_name
from noisylab.cli.running.loggers.identity import keep, kept
from noisylab.cli.running.loggers.naming import label_of
from noisylab.cli.running.loggers.wandb import RunWandb
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
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NOISYLAB_STUDY"]:
        monkeypatch.delenv(name)
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
    assert settings["tags"] == ["CrossEntropy", "ToyData", "sym0.4", "seed3"] and settings["project"] == "noisylab"
    assert settings["job_type"] == "CrossEntropy"


def test_the_runs_of_a_study_are_a_group(tmp_path: Path, started: list[_Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLAB_STUDY", "six methods")
    method = CrossEntropy(3, PlainMLP)
    _ = make_logger("wandb", tmp_path, "act_digits", method, _data()).experiment  # type: ignore[attr-defined]
    assert started[0].settings["group"] == "six methods"
    assert label_of("", method, _data()).facts == {
        "study": "six methods",
        "method": "CrossEntropy",
        "dataset": "ToyData",
        "network": "PlainMLP",
        "noise": "symmetric",
        "noise_rate": 0.4,
        "seed": 3,
    }


def test_what_wandb_is_told_by_its_own_variables_wins(
    tmp_path: Path, started: list[_Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("RUN_GROUP", "mine"),
        ("NAME", "n"),
        ("JOB_TYPE", "j"),
        ("TAGS", "a, seed3"),
        ("DIR", str(tmp_path / "d")),
    ):
        monkeypatch.setenv(f"WANDB_{name}", value)
    _ = make_logger("wandb", tmp_path, "", CrossEntropy(3, PlainMLP), _data()).experiment  # type: ignore[attr-defined]
    settings = started[0].settings
    assert settings.get("name") is None and not {"group", "job_type"} & set(settings)
    assert settings["tags"] == ["CrossEntropy", "ToyData", "sym0.4", "seed3", "a"]
    assert settings["dir"] == str(tmp_path / "d")


def test_epochs_are_the_axis_of_epoch_metrics_and_steps_of_step_metrics(tmp_path: Path, started: list[_Run]) -> None:
    logger = RunWandb(tmp_path, offline=True)
    logger.log_metrics({"train/loss_step": 1.0}, step=5)
    logger.log_metrics({"val/acc": 0.5, "new/what": 1.0, "epoch": 0}, step=9)
    assert started[0].axes == {
        "epoch": None,
        "train/loss_step": "trainer/global_step",
        "val/*": "epoch",
        "new/*": "epoch",
    }
    assert started[0].logged[0] == {"train/loss_step": 1.0, "trainer/global_step": 5}


def test_a_resume_goes_on_with_the_run_of_the_folder(
    tmp_path: Path, started: list[_Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    _ = RunWandb(tmp_path).experiment
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_PROJECT")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    _ = RunWandb(tmp_path, offline=True).experiment  # W&B's own folder is not there
    first, second = (run.settings for run in started)
    assert first["id"] and first["id"] == second["id"] and second["resume"] == "allow"
    assert first["project"] == second["project"] == "mine"


def test_the_id_is_kept_before_the_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wandb.init", killed)
    logger = RunWandb(tmp_path, offline=True)
    assert not list(tmp_path.iterdir())  # building it writes nothing
    with pytest.raises(KeyboardInterrupt):
        _ = logger.experiment
    assert kept(tmp_path, "wandb")["id"] == RunWandb(tmp_path, offline=True).run_id


def test_two_run_folders_are_two_runs(tmp_path: Path) -> None:
    assert RunWandb(tmp_path / "a", offline=True).run_id != RunWandb(tmp_path / "b", offline=True).run_id


def test_the_agent_of_a_sweep_names_the_run(tmp_path: Path, started: list[_Run], monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, "wandb", {"id": "before", "project": "noisylab"})
    monkeypatch.setenv("WANDB_RUN_ID", "fromsweep")
    _ = RunWandb(tmp_path, offline=True).experiment
    assert started[0].settings["id"] == kept(tmp_path, "wandb")["id"] == "fromsweep"


@pytest.mark.parametrize("kind", ["", "offline-"])
def test_a_run_folder_of_an_older_version_is_known_by_what_wandb_keeps_there(kind: str, tmp_path: Path) -> None:
    (tmp_path / "wandb" / f"{kind}run-20261130_101500-k3x9-a7").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").mkdir()
    assert RunWandb(tmp_path, offline=True).run_id == "k3x9-a7"


def test_each_logger_has_its_own_place_in_the_file(tmp_path: Path) -> None:
    keep(tmp_path, "wandb", {"id": "a"})
    keep(tmp_path, "mlflow", {"run_id": "b"})
    assert kept(tmp_path, "wandb") == {"id": "a"} and kept(tmp_path, "trackio") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["loggers.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"wandb": "a"}', "{"])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "loggers.json").write_text(content)
    with pytest.raises(UserError, match=r"loggers.json.*\n.*put the file back, or delete it"):
        kept(tmp_path, "wandb")


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_without_its_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(UserError, match=rf'--logger {name} needs .* pip install "noisylab\[{name}\]"'):
        check_installed(name)


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
    trainer: Any = SimpleNamespace(
        loggers=[RunWandb(tmp_path, offline=True), CSVLogger(tmp_path)], global_step=9, current_epoch=3
    )
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
