"""Two machines: two agents of torchrun on the loopback address, and processes with the variables that launchers set."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.nursery import child, steps_in

from noisylab.cli import main
from noisylab.cli.launch import settle

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]
FIT = ["fit", "--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "4", "--data", "Arrays"]
FIT += ["--data.path", "a.npz", "--data.batch_size", "8", "--data.val_fraction", "0.1", "--trainer.accelerator", "cpu"]
FIT += ["--trainer.enable_progress_bar", "false", "--rank_timeout", "10", "--trust", "helpers.nursery"]
_LOG = {"class_path": "helpers.nursery.StepLog", "init_args": {"path": "steps.log"}}
LOGGED = ["--trainer.callbacks", json.dumps([_LOG])]


def _logged_until(**stop: Any) -> list[str]:
    """With a signal in the third batch of the second epoch, of seven batches, the first time that one is reached."""
    within = {"class_path": "helpers.nursery.StopWithin", "init_args": {"epoch": 1, "batch": 2, "once": "stopped", **stop}}
    return ["--trainer.callbacks", json.dumps([_LOG, within])]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    rng, y = np.random.default_rng(0), np.arange(60) % 2
    np.savez("a.npz", x=(rng.normal(size=(60, 4)) + y[:, None]).astype(np.float32), y=y)
    yield
    settle({})


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def _two(by: str, port: int, **more: str) -> list[dict[str, str]]:
    """The variables of two processes on two machines."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **more}
    if by == "torchrun":
        common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
        return [{**common, "RANK": str(rank), "GROUP_RANK": str(rank)} for rank in (0, 1)]
    common |= {"SLURM_JOB_ID": "70", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    common |= {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_NNODES": "2", "SLURM_LOCALID": "0"}
    return [{**common, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)} for rank in (0, 1)]


@contextlib.contextmanager
def _started(argv: list[str], variables: list[dict[str, str]]) -> Iterator[list[Any]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(child(argv, Path(f"out{rank}"), variables=found, group=True))
            for rank, found in enumerate(variables)
        ]


def _ended(processes: list[Any], seconds: float = 120) -> list[int]:
    for process in processes:
        process.join(seconds)
    return [process.exitcode for process in processes]


def _wait_for_steps(processes: list[Any], step: int) -> None:
    deadline = time.monotonic() + 120
    while [done for what, done in steps_in(Path("steps.log")) if what == "done"].count(step) < len(processes):
        assert time.monotonic() < deadline and all(process.is_alive() for process in processes), _said()
        time.sleep(0.01)


def _said() -> str:
    return "\n".join(f"--- {path}\n{path.read_text()}" for path in sorted(Path().glob("out*")))


def _last(folder: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)
    return found


def _assert_weights(found: Path | str, expected: Path | str, atol: float = 1e-5) -> None:
    one, other = _last(found), _last(expected)
    assert one["global_step"] == other["global_step"]
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(value, other["state_dict"][name], rtol=0, atol=atol, equal_nan=True)


def test_two_agents_of_torchrun_have_one_folder_and_a_lost_process_is_started_again() -> None:
    """The whole of it: two agents, one run folder, a killed process, a second start that resumes the run."""
    argv = [*FIT, *_logged_until(signal_name="SIGKILL", rank=1), "--trainer.max_epochs", "3"]
    paths = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    port, agents = _port(), []
    for node in (0, 1):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--max_restarts", "1"]
        command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "--local_addr", "127.0.0.1"]
        command += ["--rdzv_conf", f"is_host={node == 0}", "-m", "noisylab", *argv]
        with Path(f"out{node}").open("wb") as output:
            agents.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True))
    try:
        assert [agent.wait(240) for agent in agents] == [0, 0], _said()
    finally:
        for agent in agents:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
    (folder,) = Path("runs/crossentropy").iterdir()
    said = _said()
    assert "process 1 of 2 on" in said and "has ended" in said, said
    assert f"continuing {folder.absolute()}" in said, said
    assert main([*FIT, "--trainer.max_epochs", "3", "--run_dir", "one"]) == 0
    _assert_weights(folder, "one")


@pytest.mark.parametrize("by", ["torchrun", "srun"])
def test_two_ranks_go_on_where_one_process_stopped_and_the_other_way_round(by: str) -> None:
    assert main([*FIT, "--trainer.max_epochs", "3", "--run_dir", "straight"]) == 0
    assert main([*FIT, "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    resume = ["fit", "--run_dir", "run", "--resume", "--trainer.max_epochs"]
    with _started([*resume, "2"], _two(by, _port())) as processes:
        assert _ended(processes) == [0, 0], _said()
    assert main([*resume, "3"]) == 0
    _assert_weights("run", "straight")


def test_a_preempted_job_of_two_ranks_resumes_to_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    path = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = [*FIT, *_logged_until(signal_name="SIGUSR1", rank=1), "--trainer.max_epochs", "3"]
    with _started(command, _two("srun", _port(), **path)) as processes:
        assert _ended(processes) == [138, 138], _said()
    assert Path("calls").read_text() == "requeue 70\n", "the first process alone asks"
    (folder,) = Path("runs/crossentropy").iterdir()
    done = [step for what, step in steps_in(Path("steps.log")) if what == "done"]
    assert done.count(10) == 2 and _last(folder)["global_step"] == max(done) == 10, "both stopped after the same step"
    with _started(command, _two("srun", _port(), SLURM_RESTART_COUNT="1")) as processes:
        assert _ended(processes) == [0, 0], _said()
    assert list(Path("runs/crossentropy").iterdir()) == [folder]
    with _started([*FIT, "--trainer.max_epochs", "3", "--run_dir", "straight"], _two("srun", _port())) as processes:
        assert _ended(processes) == [0, 0], _said()
    _assert_weights(folder, "straight", atol=0)
    assert (folder / "metrics.csv").read_text() == Path("straight/metrics.csv").read_text()


@pytest.mark.parametrize("gone", [0, 1])
def test_a_killed_process_is_named_by_the_other_which_ends(gone: int) -> None:
    with _started([*FIT, *LOGGED, "--trainer.max_epochs", "9000", "--run_dir", "run"], _two("torchrun", _port())) as processes:
        _wait_for_steps(processes, 8)
        os.kill(processes[gone].pid, signal.SIGKILL)
        assert _ended(processes, 60)[1 - gone] == 1, _said()
    said = Path(f"out{1 - gone}").read_text()
    assert said.count("noisylab: error: process") == 1 and f"process {gone} of 2 on" in said, said
    assert "noisylab fit --run_dir" in said and "--resume" in said and "Traceback" not in said, said


def test_a_frozen_process_does_not_hold_the_others_for_ever() -> None:
    """As where a machine vanishes: its connections stay open, and nothing comes."""
    with _started([*FIT, *LOGGED, "--trainer.max_epochs", "9000", "--run_dir", "run"], _two("torchrun", _port())) as processes:
        _wait_for_steps(processes, 8)
        os.kill(processes[1].pid, signal.SIGSTOP)
        processes[0].join(60)
        assert processes[0].exitcode == 1, _said()
    said = Path("out0").read_text()
    assert "process 1 of 2 on" in said and "no sign of life for" in said, said


@pytest.mark.parametrize(
    ("argv", "status", "told"),
    [
        ([*FIT, "--trainer.num_nodes", "1", "--trainer.devices", "2"], 2, "1 processes on each of 2 machines"),
        (["predict", "--run_dir", "run"], 2, "noisylab predict works in one process"),
        (["folds", *FIT[1:-4], "--folds", "2"], 2, "train each fold by itself"),
        ([*FIT, "--run_dir", "none", "--resume"], 2, "there is no run to continue"),
        ([*FIT, "--dry_run"], 0, "run folder"),
    ],
    ids=["another world", "predict", "folds", "nothing to resume", "dry_run"],
)
def test_what_does_not_work_under_a_launcher_is_said_once(argv: list[str], status: int, told: str) -> None:
    with _started(argv, _two("torchrun", _port())) as processes:
        assert _ended(processes, 60) == [status, status], _said()
    assert told in Path("out0").read_text() and not Path("out1").read_text().strip(), _said()


def test_evaluation_under_a_launcher_prints_once() -> None:
    assert main([*FIT, "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    with _started(["validate", "--run_dir", "run", "--trainer.accelerator", "cpu"], _two("torchrun", _port())) as processes:
        assert _ended(processes, 60) == [0, 0], _said()
    assert "val/acc" in Path("out0").read_text() and "val/acc" not in Path("out1").read_text()
