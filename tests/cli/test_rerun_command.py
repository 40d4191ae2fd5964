"""The command rerun: a finished run once more, and whether its numbers are equal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.cli import main

RECIPE = """
seed_everything: 3
model:
  class_path: CrossEntropy
  init_args:
    network: {class_path: MLP, init_args: {in_features: 4, hidden: [8]}}
data:
  class_path: Arrays
  init_args:
    path: a.npz
    val_fraction: 0.2
    noise: {class_path: Symmetric, init_args: {rate: 0.2, seed: 0}}
trainer: {max_epochs: 2, accelerator: cpu}
"""


def arrays(flipped: int = 0, moved: float = 0.0) -> dict[str, Any]:
    labels = np.arange(66) % 3
    x = (np.random.default_rng(0).normal(size=(66, 4)) + labels[:, None]).astype("f4")
    given = labels.copy()
    given[:flipped] = (given[:flipped] + 1) % 3
    return {"x": x + np.float32(moved), "y": given, "x_test": x[:30], "y_test": labels[:30]}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rerun")
    np.savez(folder / "a.npz", **arrays())
    (folder / "r.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "--config", "r.yaml", "--run_dir", "A"]) == 0
        assert main(["rerun", "A", "--run_dir", "B"]) == 0
    return folder


@pytest.fixture(autouse=True)
def place(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data, the run A and its repetition B, whose absolute paths are those of the copy."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    for run in ("A", "B"):
        file = tmp_path / run / "config.yaml"
        file.write_text(file.read_text().replace(str(begun), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared() -> int:
    """What is said of B as it is, without training."""
    return main(["rerun", "A", "--run_dir", "B", "--resume"])


def record(folder: str = "B") -> Any:
    return json.loads(Path(folder, "rerun.json").read_text())


def edit_summary(folder: str, **changes: Any) -> None:
    file = Path(folder, "summary.json")
    summary = json.loads(file.read_text())
    for key, value in changes.items():
        part = summary
        *above, last = key.split("__")
        for name in above:
            part = part[name]
        part[last] = value
    file.write_text(json.dumps(summary))


def edit_metrics(folder: str, name: str, epoch: int, by: float) -> tuple[float, float]:
    """Add to a number in metrics.csv; returns the old and the new one."""
    file, lines = Path(folder, "metrics.csv"), []
    for line in file.read_text().splitlines():
        cells = line.split(",")
        if cells[0] == str(epoch) and cells[2] == name:
            was, now = float(cells[3]), float(cells[3]) + by
            line = ",".join([*cells[:3], repr(now)])
        lines.append(line)
    file.write_text("\n".join(lines) + "\n")
    return was, now


def test_an_undisturbed_repetition_is_equal_to_the_last_digit(capsys: pytest.CaptureFixture[str]) -> None:
    found = record()
    assert (found["equal"], found["different"], found["first"], found["causes"]) == (True, 0, None, [])
    metrics = len(Path("A/metrics.csv").read_text().splitlines()) - 1
    assert found["compared"] > metrics > 20
    assert Path("A/metrics.csv").read_bytes() == Path("B/metrics.csv").read_bytes()
    assert compared() == 0
    assert f"equal: {found['compared']:,} figures\n" in capsys.readouterr().out


def test_the_first_and_the_largest_difference_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    was, now = edit_metrics("B", "train/loss", 0, 0.25)
    edit_metrics("B", "val/loss", 1, -2.0)
    assert compared() == 1
    first, largest = record()["first"], record()["largest"]
    assert (first["name"], first["epoch"], first["old"], first["new"], first["size"]) == ("train/loss", 0, was, now, 0.25)
    assert (largest["name"], largest["epoch"], largest["size"]) == ("val/loss", 1, pytest.approx(2.0))
    assert record()["different"] == 2
    said = capsys.readouterr().out
    assert "different: 2 of" in said and f"train/loss (metrics.csv, epoch 0, step 1): {was!r}, now {now!r}, by 0.25" in said


def test_numbers_within_the_tolerance_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    edit_metrics("B", "train/loss", 0, 1e-6)
    assert compared() == 1
    assert main(["rerun", "A", "--run_dir", "B", "--resume", "--tolerance", "1e-5"]) == 0
    assert "(within 1e-05)" in capsys.readouterr().out


def test_a_run_whose_curves_were_edited_is_told_by_its_checkpoint() -> None:
    edit_metrics("A", "train/loss", 1, 0.5)
    assert compared() == 1
    assert [cause.partition(" of the run was changed")[0] for cause in record()["causes"]] == ["metrics.csv"]


def test_a_row_that_only_one_has_is_a_difference() -> None:
    lines = Path("B/metrics.csv").read_text().splitlines()
    Path("B/metrics.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert compared() == 1
    assert record()["first"]["new"] == "absent"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"versions__torch": "1.0"}, "other versions: torch 1.0, now"),
        ({"machine__threads": 64}, "number of threads 64, now"),
        ({"machine__processor": "Z80"}, "processor Z80, now"),
        ({"device": "NVIDIA H200"}, "another device: NVIDIA H200, now cpu"),
        ({"precision": "bf16-mixed"}, "another precision: bf16-mixed, now 32-true"),
        ({"code__noisylab": "0" * 16}, "source files of noisylab have changed"),
        ({"data__digests__inputs": "0" * 64}, "the training inputs are no longer those of the run (digest 00000000"),
        ({"data__digests__split": "0" * 64}, "other rows are held out"),
        ({"noise__digest": "0" * 64}, "the given labels differ (digest 00000000"),
    ],
)
def test_what_differs_beside_the_numbers_is_named_as_a_cause(changes: dict[str, Any], cause: str) -> None:
    edit_metrics("B", "train/loss", 1, 0.5)
    edit_summary("A", **changes)
    assert compared() == 1
    assert any(cause in text for text in record()["causes"]), record()["causes"]


def test_equal_numbers_of_other_versions_are_equal_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    edit_summary("A", versions__torch="1.0")
    assert compared() == 0
    assert "although other versions: torch 1.0, now" in capsys.readouterr().out


def test_figures_that_only_one_version_of_noisylab_writes_are_not_compared() -> None:
    edit_summary("A", versions__noisylab="0.0.1")
    edit_summary("B", val__new_figure=0.5)
    assert compared() == 0
    assert any("val.new_figure" in note for note in record()["notes"])
    edit_summary("A", versions__noisylab=json.loads(Path("B/summary.json").read_text())["versions"]["noisylab"])
    assert compared() == 1


@pytest.mark.parametrize(
    ("changed", "cause"),
    [({"flipped": 5}, "the labels in the training data are no longer"), ({"moved": 0.1}, "the training inputs are no longer")],
)
def test_changed_data_are_found_by_their_digests(changed: dict[str, Any], cause: str) -> None:
    np.savez("a.npz", **arrays(**changed))
    assert main(["rerun", "A", "--run_dir", "C"]) == 1
    assert cause in record("C")["causes"][0]
    assert record("C")["first"]["epoch"] == 0


@pytest.mark.slow
def test_data_that_have_moved_are_named_and_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere").mkdir()
    shutil.move("a.npz", "elsewhere/a.npz")
    assert main(["rerun", "A", "--run_dir", "C"]) == 2
    said = capsys.readouterr().err
    assert f"not there: data.path {Path('a.npz').absolute()}" in said and "--moved OLD=NEW" in said
    assert not Path("C").exists()
    assert main(["rerun", "A", "--run_dir", "C", "--moved", "a.npz=elsewhere/a.npz"]) == 0
    assert main(["rerun", "A", "--run_dir", "D", "--moved", f"{Path.cwd()}={Path('elsewhere').absolute()}"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "run folder nowhere does not exist"),
        ([], "needs the folder of one run, got 0"),
        (["A", "B"], "needs the folder of one run, got 2"),
        (["A", "--run_dir", "A"], "is the run that is to be repeated"),
        (["A", "--run_dir", "A/again"], "is the run that is to be repeated"),
        (["A", "--resume"], "--resume needs --run_dir"),
        (["A", "--run_dir", "B"], "is not empty"),
        (["A", "--run_dir", "C", "--tolerance", "-1"], "--tolerance: expected a number, 0 or more, got '-1'"),
        (["A", "--run_dir", "C", "--moved", "a.npz"], "--moved: expected OLD=NEW"),
        (["A", "--run_dir", "C", "--moved", "x=y"], "the run names no file in"),
        (["A", "--data.batch_size", "3"], "batch_size"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rerun", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not Path("C").exists()


@pytest.mark.parametrize("how", ["no summary", "not complete"])
def test_a_run_that_is_not_finished_is_refused(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    if how == "no summary":
        Path("A/summary.json").unlink()
    else:
        edit_summary("A", complete=False, ended_by="max_time")
    assert main(["rerun", "A"]) == 2
    said = capsys.readouterr().err
    assert "is not finished" in said and "noisylab fit --run_dir A --resume" in said


@pytest.mark.slow
def test_a_resumed_run_says_so_and_its_repetition_is_equal() -> None:
    assert main(["fit", "--config", "r.yaml", "--run_dir", "C", "--trainer.max_epochs", "1"]) == 0
    assert main(["fit", "--run_dir", "C", "--resume", "--trainer.max_epochs", "3"]) == 0
    assert json.loads(Path("C/summary.json").read_text())["resumes"] == 1
    assert main(["rerun", "C", "--run_dir", "D"]) == 0
    assert any("was resumed 1 time" in note for note in record("D")["notes"])


def test_an_unfinished_repetition_is_finished_and_compared() -> None:
    Path("B/rerun.json").unlink()
    Path("B/summary.json").unlink()
    assert main(["rerun", "A", "--run_dir", "B", "--resume"]) == 0
    assert record()["equal"]


@pytest.mark.slow
def test_weights_that_the_run_started_from_must_be_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "r.yaml", "--run_dir", "C", "--init_from", "A"]) == 0
    assert main(["rerun", "C", "--run_dir", "D"]) == 0
    shutil.copy("C/checkpoints/last.ckpt", "A/checkpoints/last.ckpt")
    assert main(["rerun", "C", "--run_dir", "E"]) == 2
    assert "sha256" in capsys.readouterr().err
