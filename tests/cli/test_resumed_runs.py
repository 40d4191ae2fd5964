"""A resume goes on with the run that was begun, or is refused and changes nothing; files named with --out are never lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from noisylab.cli.main import main

FIT = ["fit", "--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "3", "--data", "Arrays"]
FIT += ["--data.path", "a.npz", "--data.test_path", "t.npz", "--data.batch_size", "20", "--trainer.max_epochs", "2"]
FIT += ["--data.noise", "Symmetric", "--data.noise.rate", "0.2", "--trainer.accelerator", "cpu"]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    draw = np.random.default_rng(0)
    for name, rows in (("a.npz", 60), ("t.npz", 30)):
        y = np.arange(rows) % 3
        np.savez(name, x=(draw.normal(size=(rows, 3)) + 2 * np.eye(3)[y]).astype(np.float32), y=y)


def content(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_refused_resume_changes_nothing_and_the_right_one_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--run_dir", "run"]) == 0
    before = content("run")
    for flags, named in (
        (["--data.noise.rate", "0.4"], "data.noise.rate 0.2, now 0.4"),
        (["--data.noise", "PairFlip"], "data.noise.class_path"),
        (["--seed_everything", "3"], "seed_everything 0, now 3"),
        (["--model.network.hidden", "[7]"], "model.network.hidden"),
        (["--data.batch_size", "10"], "data.batch_size 20, now 10"),
        (["--data.path", "t.npz"], "remembers 60 training samples"),  # where the data lie may change, what they are may not
    ):
        assert main(["fit", "--run_dir", "run", "--resume", "--trainer.max_epochs", "3", *flags]) == 2
        assert named in capsys.readouterr().err
        assert content("run") == before
    assert main(["test", "--run_dir", "run"]) == 0
    accuracy = json.loads(Path("run/summary.json").read_text())["test"]["headline"]["last"]
    assert f"{accuracy:.4f}" in capsys.readouterr().out
    Path("a.npz").rename("moved.npz")
    more = ["--trainer.max_epochs", "3", "--data.path", "moved.npz", "--data.num_workers", "0", "--speed.channels_last", "true"]
    assert main(["fit", "--run_dir", "run", "--resume", *more]) == 0
    assert json.loads(Path("run/summary.json").read_text())["epochs"] == 3
    assert "moved.npz" in Path("run/config.yaml").read_text()


def test_a_run_that_fails_before_its_first_step_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--run_dir", "run", "--trainer.max_epochs", "1"]) == 0
    before = content("run")
    wrong = ["--ckpt_path", "run/config.yaml"]
    assert main([*FIT, *wrong, "--run_dir", "new"]) == 2
    assert not Path("new").exists()
    assert main([*FIT, "--model.network.in_features", "5", "--run_dir", "run", "--overwrite"]) == 2
    assert content("run") == before
    assert main([*FIT, *wrong]) == 2
    assert not Path("runs").exists()
    capsys.readouterr()


@pytest.mark.slow
def test_out_never_replaces_a_file_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--run_dir", "run", "--trainer.max_epochs", "1"]) == 0
    Path("mine.csv").write_text("mine")
    Path("link.csv").symlink_to("mine.csv")
    os.mkfifo("pipe.csv")
    for out in ("mine.csv", "link.csv", "pipe.csv", "/dev/null", "run"):
        assert main(["predict", "--run_dir", "run", "--out", out]) == 2, out
        assert f"--out {out} is " in capsys.readouterr().err
    assert Path("mine.csv").read_text() == "mine"
    for out in ("link.csv", "pipe.csv", "/dev/null", "mine.csv"):
        assert main(["predict", "--run_dir", "run", "--out", out, "--overwrite"]) == 2, out
    assert Path("mine.csv").read_text() == "mine"
    Path("empty.csv").touch()
    assert main(["predict", "--run_dir", "run", "--out", "empty.csv", "--overwrite"]) == 0
    assert Path("empty.csv").read_text().startswith("index,")
    Path("empty.csv").write_text("index,given,predicted,probability\nold")
    assert main(["predict", "--run_dir", "run", "--out", "empty.csv", "--overwrite"]) == 0
    assert "old" not in Path("empty.csv").read_text()
    assert main(["predict", "--run_dir", "run"]) == main(["predict", "--run_dir", "run"]) == 0
    Path("figure.png").write_text("mine")
    assert main(["compare", "run", "--out", "figure.png"]) == 2
    assert Path("figure.png").read_text() == "mine"
    assert main(["compare", "run"]) == main(["compare", "run"]) == 0
    assert Path("curves.png").is_file() and Path("curves-2.png").is_file()
    assert main(["compare", "run", "--out", "figure.png", "--overwrite"]) == 2
    assert Path("figure.png").read_text() == "mine"
    Path("curves.png").write_bytes(Path("curves.png").read_bytes() + b"old")
    assert main(["compare", "run", "--out", "curves.png", "--overwrite"]) == 0
    assert Path("curves.png").read_bytes() == Path("curves-2.png").read_bytes()
    assert main(["fit", "--run_dir", "run", "--resume", "--data.path", ""]) == 2
    assert "--data.path is empty" in capsys.readouterr().err
