"""Promise 3, the hard way: a training process is killed again and again, at moments it cannot know, and ends as if it had not."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_same
from helpers.nursery import child, steps_in, wait_for_steps

from noisylab.checkpoints.atomic import damage

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("NOISYLAB_KILLS", "4"))
EVERY = 3  # steps between two saves
FITS = ["fit", "--config", "act_digits.yaml", "--trainer.accelerator", "cpu", "--checkpoint.every_n_steps", str(EVERY)]
FITS += ["--trainer.max_epochs", "10", "--model.warmup_epochs", "2", "--data.subset", "480", "--data.batch_size", "40"]
FITS += ["--data.val_fraction", "0.2", "--model.lr_plan", "cosine:2,5e-4,10"]


def _flags(folder: Path) -> list[str]:
    log = json.dumps([{"class_path": "helpers.nursery.StepLog", "init_args": {"path": f"{folder}.log"}}])
    return [*FITS, "--run_dir", str(folder), "--trainer.callbacks", log]


def _finish(arguments: list[str], output: Path, **options: Any) -> tuple[int, str]:
    """Run a command to its end: exit status and output."""
    with child(arguments, output, **options) as process:
        process.join(240)
        return process.exitcode, output.read_text()


def _end(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves behind, but for times and places."""
    checkpoints = {name: torch.load(folder / "checkpoints" / name, weights_only=True) for name in ("last.ckpt", "best.ckpt")}
    for checkpoint in checkpoints.values():
        del checkpoint["callbacks"]["RunSummary"]
        del checkpoint["callbacks"]["Curves"]["file"]["path"]
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("wall_time_s", "images_per_s", "resumes"):
        del summary[name]
    return {"curves": (folder / "metrics.csv").read_text(), "summary": summary, **checkpoints}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    status, output = _finish(_flags(folder), folder.with_suffix(".out"))
    assert status == 0, output
    return folder


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A run that was killed in its fourth epoch."""
    folder = tmp_path / "run"
    with child(_flags(folder), tmp_path / "out") as process:
        wait_for_steps(process, tmp_path / "run.log", 41)
        process.kill()
    assert not (folder / "summary.json").exists()
    return folder


def test_killed_at_any_moment_the_run_ends_as_if_undisturbed(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = steps_in(undisturbed.with_suffix(".log"))
    total = straight[-1][1]
    latest = int(0.7 * total)  # the rest is for kills that come later than meant
    assert latest > KILLS
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    moments = sorted(draw.sample(range(1, latest), KILLS))
    folder, log = tmp_path / "run", tmp_path / "run.log"
    kills, within_a_save, lost = 0, 0, []
    for at in moments:
        before = steps_in(log)
        done = max((step for what, step in before if what == "done"), default=0)
        arguments = ["fit", "--run_dir", str(folder), "--resume"] if kills else _flags(folder)
        if kills and not (folder / "checkpoints" / "last.ckpt").exists():
            arguments = [*_flags(folder), "--overwrite"]  # killed before the first save
        with child(arguments, tmp_path / "out") as process:
            wait_for_steps(process, log, max(at, done + 1))
            time.sleep(draw.uniform(0, 0.12))  # within the step after it, a save, or an evaluation
            process.kill()
            process.join()
            assert process.exitcode == -9, (tmp_path / "out").read_text()
        kills += 1
        within_a_save += any((folder / "checkpoints").glob(".*.partial"))
        for checkpoint in (folder / "checkpoints").glob("*.ckpt"):
            assert damage(checkpoint) is None, "a kill damaged a checkpoint"
        if before:
            began = next(step for what, step in steps_in(log)[len(before) :] if what == "begin")
            lost.append(done - began)
    status, output = _finish(["fit", "--run_dir", str(folder), "--resume"], tmp_path / "out")
    assert status == 0, output
    # the last step of an interval may be done and its save not
    assert all(0 <= steps <= EVERY for steps in lost), (seed, lost)
    assert not list(folder.rglob("*.partial")), "what killed processes left half-written is removed"
    assert_same(_end(folder), _end(undisturbed), f"seed {seed}")
    with capsys.disabled():
        print(f"\n{kills} kills, {kills} exact resumes", end=" ")
        print(f"({within_a_save} within a save, at most {max(lost, default=0)} finished steps to be done again)")


def _flip(path: Path, draw: random.Random, count: int) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(count):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _truncate(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def test_a_damaged_newest_checkpoint_is_left_for_the_one_before(half: Path, undisturbed: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    for name, harm in {"truncated": lambda p: _truncate(p, draw), "flipped": lambda p: _flip(p, draw, 40)}.items():
        folder = tmp_path / name
        shutil.copytree(half, folder)
        harm(folder / "checkpoints" / "last.ckpt")
        status, output = _finish(["fit", "--run_dir", str(folder), "--resume"], tmp_path / "out")
        assert status == 0, output
        assert "last.ckpt is damaged" in output and "continuing from last.ckpt.previous" in output
        assert_same(_end(folder), _end(undisturbed), name)


def test_a_flipped_bit_is_noticed_wherever_it_matters(half: Path, tmp_path: Path) -> None:
    original = half / "checkpoints" / "last.ckpt"
    content, expected = original.read_bytes(), torch.load(original, weights_only=True)
    file, draw = tmp_path / "flipped.ckpt", random.Random(1)
    noticed = 0
    for _ in range(60):
        file.write_bytes(content)
        _flip(file, draw, 1)
        if damage(file) is None:  # then the bit had no meaning: it lay in the padding between two records
            assert_same(torch.load(file, weights_only=True), expected)
        else:
            noticed += 1
    assert noticed > 30


def test_a_full_disk_stops_the_run_and_spoils_nothing(half: Path, undisturbed: Path, tmp_path: Path) -> None:
    last = half / "checkpoints" / "last.ckpt"
    before, size = last.read_bytes(), last.stat().st_size
    status, output = _finish(["fit", "--run_dir", str(half), "--resume"], tmp_path / "out", file_size=size // 2)
    assert status == 2 and "could not save" in output and "free some disk space" in output
    assert last.read_bytes() == before
    assert not list(half.rglob("*.partial"))
    status, output = _finish(["fit", "--run_dir", str(half), "--resume"], tmp_path / "out")
    assert status == 0, output
    assert_same(_end(half), _end(undisturbed))


def test_killed_between_the_last_checkpoint_and_the_summary(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "summary.json").unlink()
    status, output = _finish(["fit", "--run_dir", str(folder), "--resume"], tmp_path / "out")
    assert status == 0, output
    assert_same(_end(folder), _end(undisturbed))
