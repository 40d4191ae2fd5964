"""Whether a launcher has started several processes, told from the variables of the shell."""

from __future__ import annotations

import pytest
import torch

from noisylab.cli.launch import first_process, is_lost_process, launched, settle

TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
TORCHRUN |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}
CHILD = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}  # Lightning's
SRUN = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"}


@pytest.fixture(autouse=True)
def _as_before():
    yield
    settle({})


@pytest.mark.parametrize("environment", [TORCHRUN, CHILD, SRUN], ids=["torchrun", "lightning", "srun"])
def test_what_a_launcher_has_set_stays(environment):
    found = dict(environment)
    assert launched(found) == 2
    assert settle(found) is None
    assert found == environment
    assert not first_process()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"RANK": "1"}, "RANK=1"),
        ({"LOCAL_RANK": "3"}, "LOCAL_RANK=3"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "WORLD_SIZE=2"),
        ({"RANK": "5", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK=5"),
        ({"WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "WORLD_SIZE=4"),
        ({"RANK": "x"}, "RANK=x"),
    ],
)
def test_what_was_left_over_is_named_and_taken_away(environment, named):
    said = settle(environment)
    assert said is not None
    assert named in said
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} & set(environment)
    assert first_process()


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, {"SLURM_JOB_ID": "7"}])
def test_one_process_that_is_said_to_be_one_needs_no_note(environment):
    assert settle(environment) is None
    assert first_process()


def test_tasks_that_were_asked_for_and_not_started_are_no_processes():
    environment = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NAME": "train"}
    said = settle(environment)
    assert said is not None
    assert "SLURM_NTASKS=2" in said
    assert environment["SLURM_JOB_NAME"] == "interactive", "the name for which Lightning takes no notice of SLURM"


def test_a_shell_within_a_step_is_one_process():
    environment = {**SRUN, "SLURM_PROCID": "0", "SLURM_PTY_PORT": "4000"}
    assert launched(environment) == 1
    assert launched({**SRUN, "SLURM_JOB_NAME": "bash"}) == 1


def test_a_job_of_one_task_keeps_its_name_for_requeueing():
    environment = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NAME": "train"}
    assert settle(environment) is None
    assert environment["SLURM_JOB_NAME"] == "train"


def test_a_broken_connection_is_told_from_other_errors():
    gone = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:5123"
    assert is_lost_process(RuntimeError(gone))
    assert is_lost_process(torch.distributed.DistNetworkError("client socket has timed out"))
    assert not is_lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lost_process(ValueError("Connection closed by peer"))
