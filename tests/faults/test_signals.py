"""SIGTERM and Ctrl-C, sent to the command itself: saved, stopped, continued; one process and two."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import assert_same
from helpers.nursery import child, last_step, steps_in, wait_for, wait_for_steps
from samples import write_folders

from noisylab.checkpoints.atomic import damage

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]
FITS = ["fit", "--config", "act_digits.yaml", "--trainer.accelerator", "cpu", "--model.warmup_epochs", "1"]
FITS += ["--data.subset", "240", "--data.batch_size", "24"]  # ten steps an epoch
_LOG = {"class_path": "helpers.nursery.StepLog", "init_args": {"path": "steps.log"}}
LOGGED = ["--trainer.callbacks", json.dumps([_LOG])]
FITS += LOGGED
WEB = ["fit", "--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "768"]
WEB += ["--data", "WebImages", "--data.root", "web", "--data.resize", "16", "--data.crop", "16", "--data.batch_size", "4"]
WEB += ["--data.num_workers", "2", "--trainer.accelerator", "cpu", *LOGGED]


def _saved(folder: Path) -> dict[str, object]:
    last = folder / "checkpoints" / "last.ckpt"
    assert damage(last) is None
    return torch.load(last, weights_only=True)


def _alive(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def _members(group: int) -> set[int]:
    """The processes of a group."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            if int(stat.read_text().rpartition(")")[2].split()[2]) == group:
                found.add(int(stat.parent.name))
    return found


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_nothing_is_lost(number: int, status: int, tmp_path: Path) -> None:
    log = tmp_path / "steps.log"
    with child([*FITS, "--trainer.max_epochs", "3", "--run_dir", "straight"], tmp_path / "out") as process:
        process.join(120)
        assert process.exitcode == 0, (tmp_path / "out").read_text()
    log.unlink()
    with child([*FITS, "--trainer.max_epochs", "3", "--run_dir", "run"], tmp_path / "out") as process:
        wait_for_steps(process, log, 13)
        os.kill(process.pid, number)
        process.join(120)
        output = (tmp_path / "out").read_text()
        assert process.exitcode == status, output
    assert "saving after this step" in output and "--run_dir run --resume" in output
    assert _saved(tmp_path / "run")["global_step"] == last_step(log), "the last step is in the checkpoint"
    with child(["fit", "--run_dir", "run", "--resume"], tmp_path / "out") as process:
        process.join(120)
        assert process.exitcode == 0, (tmp_path / "out").read_text()
    for part in ("state_dict", "optimizer_states", "noisylab_metrics"):
        assert_same(_saved(tmp_path / "run")[part], _saved(tmp_path / "straight")[part], part)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "straight" / "metrics.csv").read_text()


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    slow = {"class_path": "helpers.nursery.SlowStep", "init_args": {"after": 12}}
    log, out = tmp_path / "steps.log", tmp_path / "out"
    arguments = [*FITS, "--trainer.callbacks", json.dumps([_LOG, slow]), "--trainer.max_epochs", "3", "--run_dir", "run"]
    with child(arguments, out) as process:
        wait_for(process, lambda: ("begin", 12) in steps_in(log), "the slow step")
        os.kill(process.pid, signal.SIGINT)
        wait_for(process, lambda: "saving after this step" in out.read_text(), "the answer to the first Ctrl-C", 30)
        assert process.is_alive(), "the first one waits for the step"
        os.kill(process.pid, signal.SIGINT)
        process.join(20)  # the step would take a minute
        assert process.exitcode == 130, out.read_text()
    assert "saved and stopped" not in out.read_text()
    assert last_step(log) == 12, "the step was not waited for"
    assert _saved(tmp_path / "run")["global_step"] == 10, "what there is was saved as the first epoch ended"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_the_loader_workers_get_too_loses_nothing(number: int, status: int, tmp_path: Path) -> None:
    """As a terminal sends Ctrl-C, and a batch system SIGTERM: to the whole process group."""
    pytest.importorskip("randaugment")  # the extra [views]
    for part, each in (("train", 24), ("val", 2)):
        write_folders(tmp_path / "web" / part, each=each, size=(20, 18))
    log, out = tmp_path / "steps.log", tmp_path / "out"
    with child([*WEB, "--trainer.max_epochs", "900", "--run_dir", "run"], out, group=True) as process:
        wait_for_steps(process, log, 15)  # of twelve an epoch
        workers = _members(process.pid) - {process.pid}
        os.killpg(process.pid, number)
        process.join(60)
        assert process.exitcode == status, out.read_text()
        assert len(workers) >= 2, "there were workers in the group"
        deadline = time.monotonic() + 30
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(process.pid), "the workers have ended, too"
    assert "saved and stopped" in out.read_text() and "Traceback" not in out.read_text()
    checkpoint = _saved(tmp_path / "run")
    assert checkpoint["global_step"] == last_step(log), "the last step is in the checkpoint"
    epochs = int(checkpoint["epoch"]) + 2
    with child(["fit", "--run_dir", "run", "--resume", "--trainer.max_epochs", str(epochs)], out) as process:
        process.join(120)
        assert process.exitcode == 0, out.read_text()
    assert _saved(tmp_path / "run")["global_step"] == 12 * epochs


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_nothing_is_lost_when_nobody_reads_the_output_any_more(number: int, status: int, tmp_path: Path) -> None:
    """`noisylab fit ... 2>&1 | tee log`: tee gets the Ctrl-C as well, and may be gone first."""
    log, pipe = tmp_path / "steps.log", tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with child([*FITS, "--trainer.max_epochs", "900", "--run_dir", "run"], pipe, group=True) as process:
            wait_for_steps(process, log, 13)
            assert process.is_alive(), os.read(reader, 10**5).decode()
            os.close(reader)
            reader = -1
            os.killpg(process.pid, number)
            process.join(60)
            assert process.exitcode == status
    finally:
        if reader >= 0:
            os.close(reader)
    assert _saved(tmp_path / "run")["global_step"] == last_step(log), "the last step is in the checkpoint"


@contextlib.contextmanager
def _two_ranks(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    paths = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "noisylab", *FITS, "--trainer.devices", "2", *arguments]
    with open("out", "wb") as output:  # noqa: PTH123 - in the working directory of the test
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("number", "to_all", "status"), [(signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143), (signal.SIGINT, True, 130)]
)
def test_two_ranks_stop_after_the_same_step_and_one_process_goes_on(
    number: int, to_all: bool, status: int, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    with _two_ranks("--trainer.max_epochs", "900", "--run_dir", "run") as process:
        deadline = time.monotonic() + 120
        while ("done", 14) not in steps_in(log) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        (os.killpg if to_all else os.kill)(process.pid, number)
        process.wait(60)
        output = (tmp_path / "out").read_text()
        assert process.returncode == status, output
        deadline = time.monotonic() + 30
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(process.pid), "the second rank has ended, too"
    done = [step for what, step in steps_in(log) if what == "done"]
    assert done.count(max(done)) == 2, "both ranks did the last step"
    checkpoint = _saved(tmp_path / "run")
    assert checkpoint["global_step"] == max(done)
    epochs = int(checkpoint["epoch"]) + 2
    more = ["fit", "--run_dir", "run", "--resume", "--trainer.devices", "1", "--trainer.max_epochs", str(epochs)]
    with child(more, tmp_path / "out") as again:
        again.join(120)
        assert again.exitcode == 0, (tmp_path / "out").read_text()
    assert _saved(tmp_path / "run")["global_step"] == 10 * epochs


def _rank_one(group: int) -> int:
    """The process that the first one of a run has started as the second."""
    for process in _members(group) - {group}:
        with contextlib.suppress(OSError):
            if b"LOCAL_RANK=1" in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                return process
    raise AssertionError("there is no second process")


@pytest.mark.parametrize("first", [True, False], ids=["the first", "the second"])
def test_the_rank_that_is_left_says_in_a_few_lines_how_to_go_on(first: bool, tmp_path: Path) -> None:
    with _two_ranks("--trainer.max_epochs", "900", "--run_dir", "run", "--trainer.enable_progress_bar", "false") as process:
        deadline = time.monotonic() + 120
        while ("done", 14) not in steps_in(tmp_path / "steps.log") and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid if first else _rank_one(process.pid), signal.SIGKILL)
        process.wait(60)
        deadline = time.monotonic() + 60
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(process.pid), "nobody waits for the one that is gone"
    output = (tmp_path / "out").read_text()
    assert output.count("noisylab: error: another process of this run has ended") == 1, output
    assert "continue with: noisylab fit --run_dir run --resume" in output
    assert "Traceback" not in output and len([line for line in output.splitlines() if line.strip()]) <= 6, output
    assert _saved(tmp_path / "run")["global_step"] >= 10
