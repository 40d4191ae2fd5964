"""A study whose workers, or whose watcher, are killed: nothing is lost, and the numbers are those of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import noisylab

SPEC: dict[str, Any] = {
    "data": {"class_path": "Arrays", "init_args": {"path": "a.npz", "val_fraction": 0.2, "batch_size": 4}},
    "trainer": {"max_epochs": 60, "accelerator": "cpu", "enable_progress_bar": False},
    "network": {"class_path": "MLP", "init_args": {"in_features": 4, "hidden": [8]}},
    "methods": {"CE": "CrossEntropy", "ELR": "ELR", "GCE": {"class_path": "RobustLoss"}},
    "noise": {"sym": {"class_path": "Symmetric", "init_args": {"rate": 0.4}}},
    "seeds": [0],
}
CELLS = tuple(f"{method}/sym/seed0" for method in SPEC["methods"])
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(noisylab.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
PATIENCE = 300  # seconds, on a machine with much else to do


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("studies")
    labels = np.arange(60) % 3
    x = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None]
    np.savez(place / "a.npz", x=x.astype("f4"), y=labels, x_test=x[:30].astype("f4"), y_test=labels[:30])
    (place / "s.yaml").write_text(yaml.safe_dump(SPEC))
    assert run(place, "s.yaml", "--run_dir", "straight").wait() == 0
    return place


def run(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "noisylab", "study", *arguments]
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=said, stderr=said, stdin=subprocess.DEVNULL)


def until(happened: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = happened()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


def under_way(study: Path) -> dict[str, Any] | None:
    """The note of a cell that has done some epochs and is not finished."""
    for file in study.glob(".cells/*/state.json"):
        note = json.loads(file.read_text())
        curves = study / file.parent.name.replace("--", "/") / "metrics.csv"
        if note["state"] == "running" and curves.is_file() and len(curves.read_bytes()) > 2000:
            return dict(note)
    return None


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_equal(folder: Path, study: str) -> None:
    for cell in CELLS:
        assert (folder / study / cell / "metrics.csv").read_bytes() == (
            folder / "straight" / cell / "metrics.csv"
        ).read_bytes(), cell


def test_a_killed_worker_is_replaced_and_its_cell_noted(folder: Path) -> None:
    study = folder / "worker"
    with run(folder, "s.yaml", "--run_dir", "worker", "--jobs", "1") as process:
        note = until(lambda: under_way(study), "training")
        os.kill(note["pid"], signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
    states = [json.loads((study / ".cells" / cell.replace("/", "--") / "state.json").read_text()) for cell in CELLS]
    failed = [state for state in states if state["state"] == "failed"]
    assert len(failed) == 1 and "its process was ended by SIGKILL (signal 9)" in failed[0]["message"]
    assert sum((study / cell / "summary.json").is_file() for cell in CELLS) == 2, "the others were trained"
    assert run(folder, "--run_dir", "worker", "--resume", "--jobs", "2").wait(PATIENCE) == 0
    check_equal(folder, "worker")


def test_workers_end_by_themselves_when_the_command_is_killed(folder: Path) -> None:
    study = folder / "watcher"
    with run(folder, "s.yaml", "--run_dir", "watcher", "--jobs", "1") as process:
        note = until(lambda: under_way(study), "training")
        process.kill()
    until(lambda: not lives(note["pid"]), "the end of the worker")
    assert run(folder, "--run_dir", "watcher", "--resume").wait(PATIENCE) == 0
    check_equal(folder, "watcher")


def test_a_killed_study_goes_on(folder: Path) -> None:
    study = folder / "series"
    for _ in range(2):
        more = ["--resume"] if study.exists() else ["s.yaml"]
        with run(folder, *more, "--run_dir", "series") as process:
            until(lambda: (under_way(study) or {}).get("pid") == process.pid, "training")
            process.kill()
    assert run(folder, "--run_dir", "series", "--resume").wait(PATIENCE) == 0
    check_equal(folder, "series")


def test_a_signal_ends_all_in_order(folder: Path) -> None:
    study = folder / "signal"
    with run(folder, "s.yaml", "--run_dir", "signal", "--jobs", "2") as process:
        until(lambda: under_way(study), "training")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    states = {json.loads(file.read_text())["state"] for file in study.glob(".cells/*/state.json")}
    assert states <= {"stopped", "finished"} and "stopped" in states
    assert run(folder, "--run_dir", "signal", "--resume").wait(PATIENCE) == 0
    check_equal(folder, "signal")
