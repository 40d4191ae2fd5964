"""The cells of a study: what is finished stays, what failed is noted, what is damaged or was killed is made good."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from noisylab.cli import main
from noisylab.cli.configuration.studyplan import stored_plan
from noisylab.cli.folder.lock import FolderLock
from noisylab.methods import ELR

BASE = """
data: {class_path: Arrays, init_args: {path: a.npz, val_fraction: 0.2, batch_size: 16}}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false}
"""
SPEC: dict[str, Any] = {
    "base": "base.yaml",
    "network": {"class_path": "MLP", "init_args": {"in_features": 4, "hidden": [8]}},
    "methods": {"CE": "CrossEntropy", "ELR": "ELR"},
    "noise": {"sym": {"class_path": "Symmetric", "init_args": {"rate": 0.4}}},
    "seeds": [0],
}
CELLS = ("CE/sym/seed0", "ELR/sym/seed0")


def write(folder: Path) -> None:
    labels = np.arange(60) % 3
    x = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None]
    np.savez(folder / "a.npz", x=x.astype("f4"), y=labels, x_test=x[:30].astype("f4"), y_test=labels[:30])
    (folder / "base.yaml").write_text(BASE)
    (folder / "s.yaml").write_text(yaml.safe_dump(SPEC))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["study", "s.yaml", "--run_dir", "S"]) == 0
    return folder


@pytest.fixture(autouse=True)
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path) -> None:
    """The finished study in a folder of its own: its recipes name the data there."""
    monkeypatch.chdir(finished)
    if Path("S").exists() and not Path("kept").exists():
        shutil.copytree("S", "kept")
    shutil.rmtree("S", ignore_errors=True)
    shutil.copytree("kept", "S")
    write(finished)


def state(cell: str) -> Any:
    return json.loads(Path("S/.cells", cell.replace("/", "--"), "state.json").read_text())


def note(cell: str, **changes: Any) -> None:
    Path("S/.cells", cell.replace("/", "--"), "state.json").write_text(json.dumps({**state(cell), **changes}))


def resume(*more: str) -> int:
    return main(["study", *more, "--run_dir", "S", "--resume"])


def curves(cell: str, study: str = "S") -> bytes:
    return Path(study, cell, "metrics.csv").read_bytes()


def test_what_is_finished_is_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    before = {cell: Path("S", cell, "summary.json").stat().st_mtime_ns for cell in CELLS}
    assert resume() == 0
    assert {cell: Path("S", cell, "summary.json").stat().st_mtime_ns for cell in CELLS} == before
    assert capsys.readouterr().out.count("is finished: ") == 2
    assert state("CE/sym/seed0")["attempts"] == 1


def test_a_cell_is_the_run_that_its_recipe_and_flags_make(tmp_path: Path) -> None:
    cell = stored_plan(Path("S")).cells[1]
    flags = [word for key, value in cell.flags for word in (f"--{key}", str(value))]
    assert main(["fit", "--config", "S/recipes/ELR-sym.yaml", *flags, "--run_dir", str(tmp_path / "alone")]) == 0
    assert (tmp_path / "alone/metrics.csv").read_bytes() == curves("ELR/sym/seed0")


@pytest.mark.parametrize("name", ["summary.json", "metrics.csv", "config.yaml", "checkpoints"])
def test_a_damaged_cell_is_made_good(name: str) -> None:
    place = Path("S/ELR/sym/seed0")
    if name == "checkpoints":  # and a run that was killed before its end
        for file in (place / name).glob("*.ckpt*"):
            file.write_bytes(file.read_bytes()[:500])
        (place / "summary.json").unlink()
    else:
        (place / name).write_bytes((place / name).read_bytes()[:-40] + b"{{")
    assert resume() == 0
    assert json.loads((place / "summary.json").read_text())["complete"] is True
    assert curves("ELR/sym/seed0") == curves("ELR/sym/seed0", "kept")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("the loss of step 3 is nan"), "the loss of step 3 is nan"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
            "out of memory",
        ),
        (KeyError("x"), "KeyError"),
    ],
)
def test_a_cell_that_fails_is_noted_and_the_others_go_on(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell in CELLS:
        shutil.rmtree(Path("S") / cell)
    steps = ELR.training_step

    def fails(self: ELR, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1:
            raise error
        return steps(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ELR, "training_step", fails)
        assert resume() == 1
    assert told in state("ELR/sym/seed0")["message"] and state("ELR/sym/seed0")["state"] == "failed"
    assert state("CE/sym/seed0")["state"] == "finished"
    said = capsys.readouterr().err
    assert "run 2 of 2 (ELR, sym, seed 0) ended with an error; the others continue" in said and told in said
    trace = Path("S/.cells/ELR--sym--seed0/error.txt")
    assert trace.is_file() == (told != "out of memory"), "the traceback of an error in somebody's code is kept"
    assert resume() == 0, "a command that continues the study tries it again"
    assert curves("ELR/sym/seed0") == curves("ELR/sym/seed0", "kept")


def test_a_cell_whose_process_was_killed_goes_on_and_is_left_alone_after_three_times(capsys: pytest.CaptureFixture[str]) -> None:
    place = Path("S/ELR/sym/seed0")
    (place / "summary.json").unlink()
    note("ELR/sym/seed0", state="running", kills=1)
    assert resume() == 0
    assert state("ELR/sym/seed0")["attempts"] == 2
    (place / "summary.json").unlink()
    note("ELR/sym/seed0", state="running", kills=2)
    assert resume() == 1
    assert "its process has ended without a word 3 times" in capsys.readouterr().err
    assert resume() == 0, "asked for once more"


def test_what_another_process_trains_is_left_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("S/ELR/sym/seed0")
    text = (
        "import sys, time; from pathlib import Path; from noisylab.cli.folder.lock import FolderLock;"
        "f = Path('S/.cells/ELR--sym--seed0'); lock = FolderLock.take(f, f); print('has it', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "has it\n"
        assert resume() == 0
        other.communicate("")
    assert "1 more are trained by other processes" in capsys.readouterr().out
    assert not Path("S/ELR/sym/seed0").exists()


def test_a_study_grows_with_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(yaml.safe_dump({**SPEC, "methods": {**SPEC["methods"], "GCE": {"class_path": "RobustLoss"}}}))
    before = curves("CE/sym/seed0")
    assert resume() == 0, "without the file it goes on as it began"
    assert "s.yaml has changed since the study began (methods.GCE.class_path" in capsys.readouterr().err
    assert not Path("S/GCE").exists()
    assert resume("s.yaml") == 0
    assert "1 runs were added to the 2 of the study" in capsys.readouterr().out
    assert Path("S/GCE/sym/seed0/summary.json").is_file() and curves("CE/sym/seed0") == before
    assert len(stored_plan(Path("S")).cells) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"noise": {"sym": {"class_path": "Symmetric", "init_args": {"rate": 0.2}}}}, "noise.sym.init_args.rate: 0.4, now 0.2"),
        ({"methods": {"CE": "CrossEntropy"}}, "methods.ELR: ELR, now nothing"),
        ({"seeds": [1]}, "seeds: [0], now [1]"),
    ],
)
def test_a_changed_study_file_is_refused(changes: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(yaml.safe_dump({**SPEC, **changes}))
    assert resume("s.yaml") == 2
    said = capsys.readouterr().err
    assert told in said and "start another study in another --run_dir" in said


def test_a_changed_base_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("base.yaml").write_text(BASE.replace("batch_size: 16", "batch_size: 8"))
    assert resume("s.yaml") == 2
    assert "the recipes that it names" in capsys.readouterr().err
    assert resume() == 0, "its own recipes are kept in its folder"


def test_two_studies_in_one_folder_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "s.yaml", "--run_dir", "S"]) == 2
    assert "it holds the study s of 2 runs" in capsys.readouterr().err


@pytest.mark.slow
def test_several_at_once_give_the_same_numbers(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(main.__code__.co_filename).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    assert main(["study", "s.yaml", "--run_dir", "S2", "--jobs", "2"]) == 0
    for cell in CELLS:
        assert curves(cell, "S2") == curves(cell)
    assert Path("S2/study.csv").read_text().splitlines()[0] == Path("S/study.csv").read_text().splitlines()[0]
    said = capfd.readouterr().out
    assert "run 1 of 2 (CE, sym, seed 0) is finished" in said and "run 2 of 2 (ELR, sym, seed 0) is finished" in said
    shutil.rmtree("S2")


def test_the_lock_of_a_cell_is_free_again(finished: Path) -> None:
    place = Path("S/.cells/CE--sym--seed0")
    assert FolderLock.take(place, place).drop(place) is None
