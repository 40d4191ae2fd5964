"""Trackio: what its logger asks of the package, and, where it is installed, what it keeps."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers import PlainMLP, ToyData

from noisylab.cli import main
from noisylab.cli.running.loggers import make_logger
from noisylab.methods import CrossEntropy
from noisylab.noise import Symmetric


class _Run:
    """A run of Trackio without a store behind it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings, self.config = settings, dict(settings["config"])
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None and not self.finished
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[_Run]:
    found: list[_Run] = []
    module: Any = ModuleType("trackio")

    def init(
        project: str, *, name: str, group: str, config: dict[str, Any], resume: str, embed: bool
    ) -> _Run:  # the real one has these, and others
        print("* Trackio project initialized")
        found.append(_Run({"project": project, "name": name, "group": group, "config": config, "resume": resume}))
        return found[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "trackio", module)
    for variable in ("TRACKIO_PROJECT", "NOISYLAB_STUDY"):
        monkeypatch.delenv(variable, raising=False)
    return found


def _logger(folder: Path) -> Any:
    return make_logger("trackio", folder, "act_digits", CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.4), seed=3))


def test_a_run_has_name_group_settings_and_its_numbers_at_the_epoch(
    runs: list[_Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = _logger(tmp_path)
    assert not list(tmp_path.iterdir())
    logger.log_hyperparams({"model": {"class_path": "ELR", "beta": 0.7}, "seed": 3})
    logger.log_metrics({"val/acc": 0.5, "epoch": 2}, step=99)
    logger.log_metrics({"train/loss_step": 1.0}, step=7)
    logger.finalize("success")
    logger.log_outcome({"headline": 0.75}, "max_epochs", 99, 2)
    (run,) = runs
    assert run.settings["project"] == "noisylab" and run.settings["group"] == "act_digits sym0.4"
    assert run.settings["name"].startswith("act_digits sym0.4 seed3 ") and run.settings["resume"] == "never"
    assert run.settings["config"] == {"model.class_path": "ELR", "model.beta": 0.7, "seed": 3}
    assert run.logged == [(2, {"val/acc": 0.5}), (7, {"train/loss_step": 1.0}), (2, {"outcome/headline": 0.75})]
    assert run.finished == 1 and not capsys.readouterr().out


def test_settings_that_come_after_the_run_has_begun_are_taken(runs: list[_Run], tmp_path: Path) -> None:
    logger = _logger(tmp_path)
    _ = logger.experiment
    logger.log_hyperparams({"model": {"beta": 0.7}})
    assert runs[0].config == {"model.beta": 0.7}


def test_a_resume_goes_on_with_the_run_and_another_folder_does_not(
    runs: list[_Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_PROJECT", "mine")
    first = _logger(tmp_path / "a")
    first.log_metrics({"val/acc": 0.5, "epoch": 0})
    first.finalize("failed")  # stopped
    monkeypatch.delenv("TRACKIO_PROJECT")
    _logger(tmp_path / "a").log_metrics({"val/acc": 0.6, "epoch": 1})
    _logger(tmp_path / "b").log_metrics({"val/acc": 0.5, "epoch": 0})
    one, again, other = runs
    assert one.finished == 1
    assert (one.settings["name"], one.settings["project"]) == (again.settings["name"], again.settings["project"])
    assert again.settings["resume"] == "allow" and other.settings["resume"] == "never"
    assert other.settings["name"] != one.settings["name"]  # though recipe, noise and seed are the same


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="Trackio is not installed: the extra trackio")
@pytest.mark.filterwarnings("default")
def test_a_real_store_has_one_run_after_a_resume(tmp_path: Path) -> None:
    """In a process of its own: Trackio reads TRACKIO_DIR when it is imported."""
    import subprocess

    program = "import sys; from noisylab.cli import main; sys.exit(main(sys.argv[1:]))"
    smoke = ["--config", "elr_digits.yaml", "--config", "smoke.yaml", "--model.network.width", "4", "--trainer.max_epochs", "1"]
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "store"), "NOISYLAB_STUDY": "six methods", "HF_HUB_OFFLINE": "1"}
    run = tmp_path / "run"
    for argv in (smoke, ["--resume", "--trainer.max_epochs", "2"]):
        command = [sys.executable, "-c", program, "fit", *argv, "--logger", "trackio", "--run_dir", str(run)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("run folder")
    (file,) = (tmp_path / "store").glob("*.db")
    with sqlite3.connect(file) as store:
        rows = store.execute("select run_name, run_id, step, metrics from metrics order by id").fetchall()
        configs = store.execute("select config from configs").fetchall()
    assert len({(name, number) for name, number, _, _ in rows}) == 1 and rows[0][0].startswith("elr_digits sym0.4 seed0 ")
    accuracies = [(step, json.loads(metrics)["test/acc"]) for _, _, step, metrics in rows if "test/acc" in json.loads(metrics)]
    curves = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert accuracies == [(int(epoch), pytest.approx(float(value))) for epoch, _, name, value in curves if name == "test/acc"]
    config = json.loads(configs[0][0])
    assert config["method"] == "ELR" and config["model.target_momentum"] == 0.7 and config["_Group"] == "six methods"
    outcome = [json.loads(metrics)["outcome/headline"] for _, _, _, metrics in rows if "outcome/headline" in json.loads(metrics)]
    assert outcome[-1] == json.loads((run / "summary.json").read_text())["headline"]


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "trackio" else real(name, *more))
    assert main(["fit", "--config", "elr_digits.yaml", "--logger", "trackio", "--run_dir", str(tmp_path / "r")]) == 2
    assert 'pip install "noisylab[trackio]"' in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
