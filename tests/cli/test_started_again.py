"""Jobs of SLURM and torchrun that are started again, told from the variables that these set: the command finds its run again."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_same

from noisylab.cli import main
from noisylab.cli.configuration.studyplan import plan_of_rows, stored_plan
from noisylab.cli.folder import job as jobs
from noisylab.cli.folder.job import Job, belongs, job_of
from noisylab.cli.folder.marker import mark
from noisylab.cli.launch import settle
from noisylab.cli.options import parse
from noisylab.cli.running.again import asked_early, go_on, hear_early
from noisylab.cli.sweeps.asked import asked_for
from noisylab.cli.sweeps.plan import plan_of

FIT = ["fit", "--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "4", "--data", "Arrays"]
FIT += ["--data.path", "a.npz", "--data.batch_size", "8", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "3"]
FIT += ["--trainer.enable_progress_bar", "false"]
SLURM = {"SLURM_JOB_ID": "70", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SLURM |= {"SLURM_NODEID": "0", "SLURM_NNODES": "1", "SLURM_CLUSTER_NAME": "c"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_ERROR_FILE": "/tmp/t_x/none_y/attempt_0/0/error.json"}


def _stops(signal_name: str, epoch: int = 1) -> list[str]:
    init = {"epoch": epoch, "batch": 1, "signal_name": signal_name}
    return ["--trainer.callbacks", json.dumps([{"class_path": "helpers.nursery.StopWithin", "init_args": init}])]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    rng, y = np.random.default_rng(0), np.arange(40) % 2
    np.savez("a.npz", x=(rng.normal(size=(40, 4)) + y[:, None]).astype(np.float32), y=y)
    yield
    jobs._noted.clear()
    settle({})


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scontrol that writes down how it was called; with a file named refuse beside it, it fails."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "scontrol").write_text(
        f'#!/bin/sh\necho "$@" >> {place}/calls\nif [ -e {place}/refuse ]; then echo "Job may not be requeued" >&2; exit 1; fi\n'
    )
    (place / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return place / "calls"


def _last(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return found


def test_a_job_that_slurm_cuts_short_is_queued_again_and_its_next_start_resumes_exactly(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*FIT, "--run_dir", "straight"]) == 0
    command = [*FIT, *_stops("SIGUSR1")]  # no --run_dir
    assert main(command) == 128 + signal.SIGUSR1
    said = capfd.readouterr().err
    assert "saving after this step" in said and "job 70 is in the queue again" in said
    assert scontrol.read_text() == "requeue 70\n"
    (folder,) = Path("runs/crossentropy").iterdir()
    assert not list(folder.glob("hpc_ckpt*")), "Lightning has saved nothing of its own"
    assert _last(folder)["global_step"] == 7  # of five an epoch

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    # the same command would be stopped at the same batch again
    monkeypatch.setattr("helpers.nursery.StopWithin.on_train_batch_start", lambda *arguments: None)
    assert main(command) == 0
    assert f"started again (1 time): continuing {folder.absolute()}" in capfd.readouterr().err
    assert list(Path("runs/crossentropy").iterdir()) == [folder]
    for part in ("state_dict", "optimizer_states", "noisylab_metrics"):
        assert_same(_last(folder)[part], _last(Path("straight"))[part], part)
    assert (folder / "metrics.csv").read_text() == Path("straight/metrics.csv").read_text()


def test_sigterm_saves_and_leaves_the_queue_to_slurm(scontrol: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, *_stops("SIGTERM"), "--run_dir", "run"]) == 128 + signal.SIGTERM
    assert not scontrol.exists(), "a job that was cancelled is to end; one that was preempted SLURM puts back itself"
    assert "saved and stopped" in capsys.readouterr().err


def test_a_queue_that_takes_no_job_back_is_said(scontrol: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scontrol.with_name("refuse").touch()
    assert main([*FIT, *_stops("SIGUSR1"), "--run_dir", "run"]) == 128 + signal.SIGUSR1
    said = capsys.readouterr().err
    assert "scontrol requeue 70 failed (Job may not be requeued)" in said and "--run_dir run --resume" in said


def test_a_job_that_is_cut_short_before_training_is_queued_again(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("noisylab.cli.commands.fit.check_networks", lambda app: os.kill(os.getpid(), signal.SIGUSR1))
    assert main([*FIT, "--run_dir", "run"]) == 128 + signal.SIGUSR1
    assert scontrol.read_text() == "requeue 70\n" and "stopped before training" in capsys.readouterr().err
    assert not Path("run").exists()
    monkeypatch.undo()
    settle({})
    with hear_early():
        assert not asked_early(), "the next command of the process heard nothing"


def test_a_command_within_a_thread_of_a_job_runs_as_without_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    with ThreadPoolExecutor(1) as pool:  # as a server or a notebook may run it; Python hears signals in the main thread alone
        assert pool.submit(main, [*FIT[:-4], "--trainer.max_epochs", "1", "--run_dir", "run", *FIT[-2:]]).result() == 0


@pytest.mark.parametrize("more", [[], ["--run_dir", "run"], ["--run_dir", "run", "--overwrite"]])
@pytest.mark.parametrize("saved", [True, False])
def test_the_next_start_of_a_job_continues_what_was_saved(
    more: list[str], saved: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, folder = parse([*FIT, *more]), Path("run" if more else "runs/crossentropy/2026")
    folder.mkdir(parents=True)
    settle(dict(SLURM))
    assert go_on(options, None) == options, "the first start"
    mark(folder, "fit")
    if saved:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").touch()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = go_on(options, None)
    assert again.own == {"run_dir": str(folder.absolute()), "resume" if saved else "overwrite": "true"}
    assert ("continuing" if saved else "nothing was saved") in capsys.readouterr().err
    settle(SLURM | {"SLURM_JOB_ID": "71"})
    assert go_on(options, None) == options, "another job's run is nothing to this one"
    assert "there is no run of it in" in capsys.readouterr().err


def test_a_study_goes_on_by_the_plan_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse(["study", "--config", "semi_digits.yaml", "--seeds", "0,1"])
    folder = Path("runs/semi_digits/2026")
    folder.mkdir(parents=True)
    settle(dict(SLURM))
    go_on(options, None)
    plan_of_rows(options).write(folder, jobs.noted_job())
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = go_on(options, None)
    assert (again.own, again.configs) == ({"run_dir": str(folder.absolute()), "resume": "true"}, [])
    assert again.places == []
    assert [cell.axes["seed"] for cell in stored_plan(folder).cells] == ["0"] * 6 + ["1"] * 6


def test_a_sweep_goes_on_by_the_plan_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse(["sweep", "--config", "elr_digits.yaml", "--search", "model.regularization=1,3", "--jobs", "2"])
    folder = Path("runs/sweep-elr_digits/2026")
    folder.mkdir(parents=True)
    settle(dict(SLURM))
    go_on(options, None)
    plan_of(asked_for(options))[0].write(folder, jobs.noted_job())
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = go_on(options, None)
    assert again.own == {"run_dir": str(folder.absolute()), "resume": "true", "jobs": "2"}
    assert (again.configs, again.searches, again.flags) == ([], [], [])


def test_a_job_is_known_by_what_its_launcher_says() -> None:
    options = parse(FIT)
    settle(dict(SLURM))
    first = job_of(options, SLURM)
    assert first.keys == ("slurm c/70",) and first.starts == 0
    assert job_of(options, {**SLURM, "SLURM_RESTART_COUNT": "3"}).starts == 3
    settle({})
    agent = job_of(options, TORCHRUN)
    again = job_of(
        options, {**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_ERROR_FILE": "/tmp/t_x/none_y/attempt_1/0/e"}
    )
    other = job_of(options, {**TORCHRUN, "TORCHELASTIC_ERROR_FILE": "/tmp/t_x/none_z/attempt_0/0/error.json"})
    assert again.starts == 1 and belongs(agent.note(), again)
    assert not belongs(agent.note(), other), "torchrun gives every run the number none unless it is told another"
    assert not belongs(agent.note(), job_of(parse([*FIT, "--seed_everything", "1"]), TORCHRUN)), "another command of the job"
    assert not belongs(None, agent) and not belongs({}, agent)
    assert job_of(options, {}).note() is None


def test_several_processes_are_of_one_job() -> None:
    here, there = Job(("a",), "x", 0), Job(("b",), "x", 1)
    joined = here.joined([{"keys": list(job.keys), "starts": job.starts} for job in (here, there)])
    assert joined == Job(("a", "b"), "x", 1), "torchrun counts the starts of each agent"
    assert belongs(joined.note(), there)
