"""SIGTERM and Ctrl-C, sent to the command itself: saved, stopped, continued; one process and two."""

from __future__ import annotations

import contextlib
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
from helpers.nursery import child, steps_in, wait_for_steps

from noisylab.engine.resume import damage

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]
FITS = ["fit", "--config", "act_digits.yaml", "--trainer.accelerator", "cpu", "--model.warmup_epochs", "1"]
FITS += ["--data.subset", "240", "--data.batch_size", "24", "--trainer.callbacks"]
FITS += ['[{"class_path": "helpers.nursery.StepLog", "init_args": {"path": "steps.log"}}]']


def _saved(folder: Path) -> dict[str, object]:
    last = folder / "checkpoints" / "last.ckpt"
    assert damage(last) is None
    return torch.load(last, weights_only=True)


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
    done = max(step for what, step in steps_in(log) if what == "done")
    assert _saved(tmp_path / "run")["global_step"] == done, "the last step is in the checkpoint"
    with child(["fit", "--run_dir", "run", "--resume"], tmp_path / "out") as process:
        process.join(120)
        assert process.exitcode == 0, (tmp_path / "out").read_text()
    for part in ("state_dict", "optimizer_states", "noisylab_metrics"):
        assert_same(_saved(tmp_path / "run")[part], _saved(tmp_path / "straight")[part], part)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "straight" / "metrics.csv").read_text()


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with child([*FITS, "--trainer.max_epochs", "900", "--run_dir", "run"], tmp_path / "out") as process:
        wait_for_steps(process, tmp_path / "steps.log", 12)
        os.kill(process.pid, signal.SIGSTOP)  # so that both arrive within one step
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGCONT)
        while "saving after" not in (tmp_path / "out").read_text() and process.is_alive():
            time.sleep(0.0005)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 130, (tmp_path / "out").read_text()
    _saved(tmp_path / "run")


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


def _alive(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


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
