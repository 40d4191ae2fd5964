"""Workers of a study as jobs: submitit's local executor for real, and SLURM with programs that pretend to be its own."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import submitit
import yaml

from noisylab.cli import main
from noisylab.cli.launch import launched
from noisylab.cli.studies.cluster import _last_line
from noisylab.cli.studies.clusterjob import StudyWorker, worker_environment

BASE = """
data: {class_path: Arrays, init_args: {path: a.npz, val_fraction: 0.2, batch_size: 16}}
trainer: {max_epochs: 3, accelerator: cpu}
"""
SPEC: dict[str, Any] = {
    "base": "base.yaml",
    "network": {"class_path": "MLP", "init_args": {"in_features": 4, "hidden": [8]}},
    "methods": {"CE": "CrossEntropy", "ELR": "ELR"},
    "noise": {"sym": {"class_path": "Symmetric", "init_args": {"rate": 0.4}}},
    "seeds": [1],
}
SLURM = ["study", "s.yaml", "--run_dir", "S", "--cluster", "slurm"]
OF_A_STEP = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    labels = np.arange(60) % 3
    x = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None]
    np.savez("a.npz", x=x.astype("f4"), y=labels, x_test=x[:30].astype("f4"), y_test=labels[:30])
    Path("base.yaml").write_text(BASE)
    Path("s.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path


def program(name: str, text: str) -> None:
    """A program of the pretended cluster, first on the path."""
    folder = Path("bin").absolute()
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def slurm(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster that takes every job and keeps its script."""
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    program("srun", "exit 1")
    program("sbatch", f"cp $1 {place}/script.sh; echo Submitted batch job 77")
    return place


def worker(**changes: Any) -> StudyWorker:
    given: dict[str, Any] = {"folder": "/S", "directory": ".", "variables": {"A": "b"}, "patience": 1.5}
    return StudyWorker(**{**given, **changes})


# ---- what is asked for


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cluster", "slrum"], "nearest: slurm"),
        (["--gpus", "1"], "--gpus belongs to --cluster slurm"),
        (["--sbatch", "account=lab"], "--sbatch belongs to --cluster slurm"),
        (["--cluster", "local", "--partition", "gpu"], "--partition and --sbatch belong to --cluster slurm"),
        (["--cluster", "slurm", "--jobs", "2"], "give one of the two"),
        (["--cluster", "slurm", "--workers", "0"], "--workers: expected a whole number, 1 or more, got '0'"),
        (["--cluster", "slurm", "--mem", "8GB"], "--mem: expected a number of GB above 0, got '8GB'"),
        (["--cluster", "slurm", "--time", "3"], "--time 3: 120 seconds of a job are kept for saving"),
        (["--cluster", "slurm", "--sbatch", "=lab"], "--sbatch: expected KEY=VALUE"),
        (["--cluster", "slurm"], "sbatch is not found on this machine"),
    ],
)
def test_mistakes_leave_nothing_behind(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    assert main(["study", "s.yaml", "--run_dir", "S", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_without_submitit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(SLURM) == 2
    assert 'pip install "noisylab[slurm]"' in capsys.readouterr().err


def test_a_dry_run_prints_the_script_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    asked = ["--workers", "2", "--partition", "gpu", "--gpus", "1", "--cpus", "8", "--mem", "32", "--time", "60"]
    assert main([*SLURM, *asked, "--sbatch", "account=lab", "--sbatch", "exclusive", "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = {
        *("--partition=gpu", "--gpus-per-node=1", "--cpus-per-task=8", "--mem=32GB", "--time=60", "--account=lab"),
        *("--exclusive", "--requeue", "--signal=USR2@120", "--array=0-1%2", "--ntasks-per-node=1", "--open-mode=append"),
        f"--output={place}/S/cluster/%A_%a/%A_%a_0_log.out",
    }
    assert wanted <= {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert f"-m submitit.core._submit {place}/S/cluster/%j" in lines[-2] + lines[-1]
    assert sorted(Path().iterdir()) == before


def test_what_is_submitted_is_what_the_dry_run_printed(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--workers", "9", "--mem", "2.5", "--cpus", "3", "--logger", "tensorboard"]
    assert main([*SLURM, *asked, "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert main([*SLURM, *asked]) == 0
    said = capsys.readouterr()
    assert Path("script.sh").read_text().strip() in printed and "--array=0-1%2" in printed  # no more workers than cells
    assert "2 workers are in the queue: 77_0 to 77_1" in said.out and "under this path" in said.err
    found = submitit.helpers.DelayedSubmission.load(slurm / "S/cluster/77_1/77_1_submitted.pkl").function
    assert isinstance(found, StudyWorker)
    assert (found.folder, found.directory, found.threads) == (str(slurm / "S"), str(slurm), 3)
    assert found.arguments == ("--logger=tensorboard",) and set(found.variables) == {"NOISYLAB_STUDY_WORKER", "NOISYLAB_STUDY"}
    assert main(["study", "--run_dir", "S", "--resume", "--cluster", "slurm", "--workers", "1"]) == 0  # more of them, later


def test_a_refusal_by_sbatch_is_passed_on_and_leaves_nothing(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program("sbatch", "echo sbatch: error: invalid partition specified: gpu >&2; exit 1")
    assert main(SLURM) == 2
    assert "sbatch refused the jobs: sbatch: error: invalid partition specified: gpu" in capsys.readouterr().err
    assert not Path("S").exists()


# ---- the worker


def test_a_worker_is_pickled_as_plain_values_and_goes_back_into_the_queue_from_its_start() -> None:
    begun = worker()
    begun._status = 143
    again = begun.checkpoint().function
    assert again == worker() and again._status is None
    assert pickle.loads(pickle.dumps(worker())) == worker()


def test_runs_of_a_worker_see_nothing_of_the_step_that_the_job_is() -> None:
    assert launched(OF_A_STEP) == 4  # what would be taken for a run of four processes
    others = {"RANK": "1", "WORLD_SIZE": "4", "SUBMITIT_EXECUTOR": "slurm", "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "3"}
    found = worker_environment({**OF_A_STEP, **others}, {"A": "b"})
    assert found == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "3", "A": "b"}
    assert launched(found) == 1


def pretend_noisylab(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of the worker's process."""
    program("python", text)
    monkeypatch.setattr(sys, "executable", str(Path("bin/python").absolute()))


@pytest.mark.parametrize("status", [0, 1])
def test_the_status_of_the_process_is_that_of_the_job(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_noisylab(f"echo $@ $A > seen; exit {status}", monkeypatch)
    assert worker(arguments=("--logger=wandb",))() == status
    assert Path("seen").read_text() == "-m noisylab study --run_dir /S --resume --logger=wandb b\n"


def test_a_process_that_was_killed_is_replaced_and_another_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_noisylab("echo x >> times; [ $(wc -l < times) -lt 3 ] && kill -9 $$; exit 0", monkeypatch)
    assert worker()() == 0
    assert Path("times").read_text() == "x\n" * 3
    pretend_noisylab("exit 2", monkeypatch)
    with pytest.raises(RuntimeError, match="ended with status 2"):
        worker()()


@pytest.mark.parametrize(("asked", "ended"), [("exit 143", 143), ("true", -9)])
def test_the_process_is_asked_to_save_and_killed_when_it_does_not(
    asked: str, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in submitit: the handler of its signal calls `checkpoint` in the middle of the call."""
    # nor does the signal that SLURM sends to every process end it
    pretend_noisylab(f"trap '{asked}' TERM; kill -USR2 $$; touch began; while true; do sleep 0.05; done", monkeypatch)
    running = worker(patience=0.5)
    handled: list[Any] = []

    def handler(number: int, frame: Any) -> None:
        handled.append(running.checkpoint())
        raise SystemExit(-1)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(SystemExit):
            running()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert Path("began").exists() and running._status == ended
    assert handled[0].function == worker(patience=0.5)


def test_of_a_failed_job_the_reason_is_told_and_not_the_list_of_its_files() -> None:
    told = (
        "Job failed with trace:\n----\nTraceback:\n  line\nRuntimeError: the worker ended with status 2\n\nSee\n - /S/0_log.out"
    )
    assert _last_line(RuntimeError(told)) == "RuntimeError: the worker ended with status 2"
    assert _last_line(RuntimeError("a\nb\n")) == "b"


# ---- for real


def metrics(folder: str) -> bytes:
    return Path(folder, "metrics.csv").read_bytes()


def state(cell: str) -> Any:
    return json.loads(Path("S/.cells", cell, "state.json").read_text())


def until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_jobs_of_this_machine_train_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "s.yaml", "--run_dir", "S", "--cluster", "local", "--workers", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 workers of s run here" in said and "study: S/study.json" in said
    assert {state(cell)["state"] for cell in ("CE--sym--seed1", "ELR--sym--seed1")} == {"finished"}
    assert main(["rerun", "S/ELR/sym/seed1", "--run_dir", "alone"]) == 0
    assert metrics("alone") == metrics("S/ELR/sym/seed1")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_preempted_job_of_slurm_goes_on_where_it_was(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, with programs in the place of SLURM's: sbatch starts the script, scontrol starts it again."""
    Path("base.yaml").write_text(BASE.replace("max_epochs: 3", "max_epochs: 150"))
    Path("s.yaml").write_text(yaml.safe_dump({**SPEC, "methods": {"CE": "CrossEntropy"}}))
    job = "SLURM_JOB_ID=77 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0"
    start = f"(sleep 1; {job} SLURM_STEP_NUM_TASKS=1 exec bash {slurm}/script.sh) > {slurm}/printed 2>&1 &"
    program("sbatch", f"cp $1 {slurm}/script.sh; echo Submitted batch job 77; {start}")
    program("scontrol", f"echo $@ >> {slurm}/scontrol; {start}")
    program("srun", "while [[ $1 == --* ]]; do [[ $1 == --output ]] && shift; shift; done; exec $@")
    assert main([*SLURM, "--time", "60"]) == 0
    cell, last = "CE--sym--seed1", Path("S/CE/sym/seed1/checkpoints/last.ckpt")
    until(lambda: last.exists() and state(cell)["state"] == "running")
    child = state(cell)["pid"]
    parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    for process in (child, parent):  # as SLURM does, which asks every process of the job
        os.kill(process, signal.SIGUSR2)
    until(lambda: Path("scontrol").exists())
    assert Path("scontrol").read_text() == "requeue 77\n"
    assert state(cell)["state"] == "stopped" and not Path("S/CE/sym/seed1/summary.json").exists()
    until(lambda: Path("S/cluster/77/77_0_result.pkl").exists(), 300)
    assert (state(cell)["state"], state(cell)["attempts"], state(cell)["kills"]) == ("finished", 2, 0)
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(":")[2])  # Lightning warns where there is a srun
    assert main(["rerun", "S/CE/sym/seed1", "--run_dir", "alone"]) == 0
    assert metrics("alone") == metrics("S/CE/sym/seed1")


@pytest.mark.slow
def test_the_end_of_the_command_ends_its_jobs_in_order() -> None:
    Path("base.yaml").write_text(BASE.replace("max_epochs: 3", "max_epochs: 100000"))
    command = [sys.executable, "-m", "noisylab", "study", "s.yaml", "--run_dir", "S", "--cluster", "local", "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: Path("S/CE/sym/seed1/checkpoints/last.ckpt").exists())
    process.terminate()
    assert process.wait(60) == 130
    until(lambda: state("CE--sym--seed1")["state"] == "stopped")
