"""A resume goes on with the run that was begun, or is refused and changes nothing; files named with --out are never lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from noisylab.cli.folder.marker import mark
from noisylab.cli.main import main
from noisylab.cli.running.resumed import check_epochs

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
        (["--data.path", "t.npz"], "holds 60 training samples"),  # where the data lie may change, what they are may not
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
        assert capsys.readouterr().err.rpartition("error: ")[2].startswith(f"--out {out} ")
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


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run folder whose checkpoint can be read, with two epochs of three steps behind it."""
    Path("run/checkpoints").mkdir(parents=True)
    mark(Path("run"), "fit")
    progress = {"total": {"started": 6}, "current": {"started": 2}}
    loop = {"epoch_progress": progress, "epoch_loop.batch_progress": progress}
    torch.save({"global_step": 6, "loops": {"fit_loop": loop}}, "run/checkpoints/last.ckpt")
    return Path("run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it is empty"),
        (b"# nothing\n", "it is empty"),
        (b"seed_everything: 0\n", "it names no model"),
        (b"model: {class_path: CrossEntropy}\ndata: 3\n", "it names no data"),
        (b"[1, 2]", "it names no model"),
        (b"model:\n  class_path: Cross\n  init", "not valid YAML in line"),
        (b"\xff\xfe\0\0", "not UTF-8 text"),
    ],
)
def test_a_damaged_configuration_is_named_with_what_to_do(
    stored: Path, text: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (stored / "config.yaml").write_bytes(text)
    before = content("run")
    ways = {
        ("fit", "--resume", "--run_dir"): "delete that file, and resume with the recipe",
        (*FIT, "--resume", "--run_dir"): "delete that file, and resume with the recipe",
        ("test", "--run_dir"): "--ckpt_path run/checkpoints/last.ckpt",
        ("predict", "--run_dir"): "--ckpt_path run/checkpoints/last.ckpt",
        ("issues", "apply", "--top", "1", "--out", "new.csv", "--run"): "find the issues anew",
    }
    for command, way in ways.items():
        if command[0] == "issues":
            (stored / "label_issues.csv").touch()
        assert main([*command, "run"]) == 2
        told = capsys.readouterr().err
        assert f"run/config.yaml is not as noisylab wrote it: {said}" in told and way in told, command
    (stored / "label_issues.csv").unlink()
    assert content("run") == before


def test_a_resume_without_a_configuration_asks_for_the_recipe(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--run_dir", "run", "--resume"]) == 2
    assert "--run_dir run holds no config.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("max_epochs", "1"), "trainer.max_epochs=1: run/checkpoints/last.ckpt has finished or begun 2 epochs"),
        (("max_epochs", "0"), "trainer.max_epochs=0: run/checkpoints/last.ckpt has finished or begun 2 epochs"),
        (("max_steps", "5"), "trainer.max_steps=5: run/checkpoints/last.ckpt has finished or begun 6 steps"),
    ],
)
def test_a_run_cannot_be_made_shorter_than_it_is(
    stored: Path, flags: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content("run")
    for where in (("--run_dir", "run", "--resume"), ("--run_dir", "new", "--ckpt_path", "run/checkpoints/last.ckpt")):
        assert main([*FIT, f"--trainer.{flags[0]}", flags[1], *where]) == 2
        told = capsys.readouterr().err
        assert said in told and "or more, or leave it out" in told
    assert content("run") == before and not Path("new").exists()


def test_a_run_may_end_where_it_is(stored: Path) -> None:
    for trainer in ({"max_epochs": 2}, {"max_steps": 6}, {"max_epochs": -1, "max_steps": -1}, {"max_epochs": None}, {}):
        check_epochs("run/checkpoints/last.ckpt", trainer)
