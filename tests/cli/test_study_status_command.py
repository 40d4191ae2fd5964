"""The command study status: who is still at work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fake_runs import FakeCell, write_study

from noisylab.cli import main

_HOLD = """
import sys
from pathlib import Path
from noisylab.cli.folder.lock import FolderLock
lock = FolderLock.take(Path(sys.argv[1]), Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def study(folder: Path) -> Path:
    return write_study(folder / "S", [FakeCell({"method": "CE", "seed": "0"}, state="running", epochs=1)])


def test_a_cell_whose_process_is_there_is_running_and_stopped_once_it_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = study(tmp_path)
    command = [sys.executable, "-c", _HOLD, str(place / ".cells/CE--seed0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert main(["study", "status", str(place)]) == 0
        assert "seed 0 at 1 of 3 epochs" in capsys.readouterr().out
        holder.kill()
        holder.wait()
    assert main(["study", "status", str(place)]) == 0
    told = capsys.readouterr().out
    assert "CE  0 of 1 finished, 1 stopped" in told and f"go on with: noisylab study --run_dir {place} --resume" in told


def test_a_cell_without_a_lock_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "status", str(study(tmp_path))]) == 0
    assert "1 run: 1 stopped" in capsys.readouterr().out


def test_what_is_no_study_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "status"]) == 2
    assert "needs the folder of a study: noisylab study status DIR" in capsys.readouterr().err
    assert main(["study", "status", str(tmp_path)]) == 2
    assert "is not the folder of a study: it has no study.yaml" in capsys.readouterr().err
