"""Runs whose data, flags or processes are not those that they began with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisylab.cli import main
from noisylab.issues import read_issues

SHORT = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


def save(name: str, order: np.ndarray) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    np.savez(name, x=x[order], y=np.array(["cat", "dog", "owl"] * 10)[order])


def issues(*argv: str) -> int:
    return main(["issues", *argv])


def test_a_list_of_other_labels_than_the_data_has_is_not_described(capsys: pytest.CaptureFixture[str]) -> None:
    save("a.npz", np.arange(30))
    assert issues("--arrays", "a.npz", "--run_dir", "run", *SHORT) == 0
    page = Path("run/issues.html").read_bytes()
    for order in (np.arange(30)[::-1], np.arange(20)):
        save("a.npz", order)
        capsys.readouterr()
        assert issues("--run", "run") == 2
        assert "the labels of the data are no longer those of label_issues.csv" in capsys.readouterr().err
        assert Path("run/issues.html").read_bytes() == page
    save("a.npz", np.arange(30))
    save("b.npz", np.arange(30))
    assert issues("--arrays", "b.npz", "--run_dir", "run", "--resume") == 2
    assert "--arrays b.npz: the run in --run_dir was started with a.npz" in capsys.readouterr().err
    assert issues("--arrays", "a.npz", "--run_dir", "run", "--resume") == 0


def test_several_processes_and_folds_are_refused_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    save("a.npz", np.arange(30))
    assert issues("--arrays", "a.npz", "--run_dir", "run", "--crossfit", "2", "--trainer.devices", "2", *SHORT) == 2
    assert "one process" in capsys.readouterr().err and not Path("run").exists()


def test_a_row_with_a_comma_too_many_is_named() -> None:
    from noisylab.data.imagelist import read_table

    Path("flat").mkdir()
    Path("labels.csv").write_text('file,label\n0.png,cat, black\n1.png,"cat, white"\n2.png,dog,\n')
    with pytest.raises(ValueError, match=r"row 2: 0.png has 3 cells where the header has 2: put text with a comma in quotes"):
        read_table(Path("labels.csv"), Path("flat"))


def test_the_command_for_corrected_class_folders_names_the_test_images(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for label in ("cat", "dog"):
            (Path("both") / part / label).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
                image.save(Path("both") / part / label / f"{number}.png")
    assert issues("--images", "both", "--run_dir", "run", "--pictures", "0", *SHORT) == 0
    table = read_issues("run/label_issues.csv")
    assert table.names is not None
    new = "dog" if table.class_names[table.given[0]] == "cat" else "cat"
    Path("accepted.csv").write_text(f"file,label\n{table.names[0]},{new}\n")
    capsys.readouterr()
    assert issues("apply", "--run", "run", "--accepted", "accepted.csv", "--out", "fixed.csv") == 0
    assert "--data.labels_csv fixed.csv --data.test_images both/test" in capsys.readouterr().out
    again = ["--data.labels_csv", "fixed.csv", "--data.test_images", "both/test", "--run_dir", "again"]
    assert main(["fit", "--config", "run/config.yaml", *again]) == 0
    assert "test accuracy at the end" in capsys.readouterr().out


def test_two_processes_leave_one_list_and_one_page() -> None:
    save("a.npz", np.arange(30))
    command = [sys.executable, "-m", "noisylab", "issues", "--arrays", "a.npz", "--run_dir", "run", *SHORT]
    ran = subprocess.run([*command, "--trainer.devices", "2", "--trainer.strategy", "ddp"], capture_output=True, text=True)
    assert ran.returncode == 0 and "error" not in ran.stderr, ran.stderr
    assert ran.stdout.count("labels of 3 classes") == 1 and ran.stdout.count("look wrong") == 1
    assert len(read_issues("run/label_issues.csv")) == 30 and Path("run/issues.html").is_file()
