"""The command study: the rows of a recipe with several seeds, and the table of their results."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.cli import main
from noisylab.methods import CrossEntropy

RECIPE = """
seed_everything: 7
model:
  class_path: CrossEntropy
  init_args:
    network: {class_path: MLP, init_args: {in_features: 4, hidden: [8]}}
data: {class_path: Arrays, init_args: {path: a.npz, val_fraction: 0.2}}
trainer: {max_epochs: 2, accelerator: cpu}
rows:
  plain: {}
  small: {set: {data.batch_size: 16}}
"""
STUDY = ["study", "--config", "two.yaml", "--seeds", "3,1", "--data.split_seed", "SEED", "--run_dir", "S"]


def write(folder: Path) -> None:
    labels = np.arange(66) % 3
    x = np.random.default_rng(0).normal(size=(66, 4)) + labels[:, None]
    np.savez(folder / "a.npz", x=x.astype("f4"), y=labels, x_test=x[:30].astype("f4"), y_test=labels[:30])
    (folder / "two.yaml").write_text(RECIPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(STUDY) == 0
    return folder / "S"


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    write(tmp_path)


def summary(folder: Path) -> Any:
    return json.loads((folder / "summary.json").read_text())


def figures(study: Path) -> list[dict[str, str]]:
    """The table without what a run took in seconds."""
    rows = list(csv.DictReader((study / "study.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name not in ("wall_time_s", "relative_cost")} for row in rows]


@pytest.mark.slow
def test_each_run_is_the_one_that_fit_makes(finished: Path) -> None:
    assert sorted(str(path.relative_to(finished)) for path in finished.glob("*/*/summary.json")) == [
        f"{row}/seed{seed}/summary.json" for row in ("plain", "small") for seed in (1, 3)
    ]
    flags = ["--config", "two.yaml", "--row", "small", "--seed_everything", "3", "--data.split_seed", "3"]
    assert main(["fit", *flags, "--run_dir", "alone"]) == 0
    assert Path("alone/metrics.csv").read_bytes() == (finished / "small/seed3/metrics.csv").read_bytes()


@pytest.mark.slow
def test_the_table_has_mean_and_population_deviation_of_the_runs(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "study.csv").read_text().splitlines()))
    record = json.loads((finished / "study.json").read_text())
    text = (finished / "study.txt").read_text()
    assert [row["method"] for row in rows] == [row["method"] for row in record["rows"]] == ["plain", "small"]
    for row, told in zip(rows, record["rows"], strict=True):
        one, three = (summary(finished / row["method"] / f"seed{seed}")["test"]["headline"]["last"] for seed in (1, 3))
        assert (row["seeds"], told["seeds"], told["missing"]) == ("1 3", ["1", "3"], [])
        mean, std = (one + three) / 2, abs(one - three) / 2
        assert float(row["last_mean"]) == told["figures"]["last"]["mean"] == pytest.approx(mean)
        assert float(row["last_std"]) == told["figures"]["last"]["std"] == pytest.approx(std)
        assert told["figures"]["last"]["values"] == {"1": one, "3": three}
        assert f"{row['method']:<5}  {100 * mean:.2f} ± {100 * std:.2f}".replace("  ", " ") in " ".join(text.split())


@pytest.mark.slow
def test_a_study_goes_on_with_what_is_missing_or_stopped(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, "S")
    shutil.rmtree("S/small/seed3")
    Path("S/plain/seed3/summary.json").unlink()  # killed before its end
    kept = Path("S/plain/seed1/metrics.csv").stat().st_mtime_ns
    assert main(["study", "--run_dir", "S", "--resume"]) == 0
    said = capsys.readouterr().out
    assert said.count("is finished") == 2
    assert Path("S/plain/seed1/metrics.csv").stat().st_mtime_ns == kept
    assert figures(Path("S")) == figures(finished)
    assert Path("S/small/seed3/metrics.csv").read_bytes() == (finished / "small/seed3/metrics.csv").read_bytes()


@pytest.mark.slow
def test_one_run_that_fails_does_not_stop_the_others(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "S")
    for run in ("plain/seed3", "small/seed3"):
        shutil.rmtree(f"S/{run}")
    step = CrossEntropy.training_step

    def diverges(self: CrossEntropy, batch: Any, batch_idx: int) -> Any:
        if self.trainer.datamodule.batch_size == 16:  # type: ignore[attr-defined]
            return step(self, batch, batch_idx)
        raise ValueError("it has diverged")

    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "training_step", diverges)
        assert main(["study", "--run_dir", "S", "--resume"]) == 1
    told = capsys.readouterr()
    assert "run 3 of 4 (plain, seed 3) ended with an error; the others continue: it has diverged" in told.err
    assert "1 of 4 runs ended with an error; continue the study with: noisylab study --run_dir S --resume" in told.err
    assert "plain, seed 3 failed: it has diverged" in told.out
    assert main(["study", "--run_dir", "S", "--resume"]) == 0
    assert figures(Path("S")) == figures(finished)


def test_the_plan_is_shown_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*STUDY, "--rows", "small", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "run folder S/small/seed1" in said
    assert "small (CrossEntropy on Arrays, 2 epochs)" in said and "2, one after the other" in said
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "two.yaml"}


def test_a_mistake_in_the_data_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "S").mkdir()
    (tmp_path / "S" / ".study.yaml.x1.partial").write_text("half")  # of a process that was killed
    assert main([*STUDY, "--data.path", "nowhere.npz"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "two.yaml"}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["study"], "noisylab study needs a study file or a recipe with rows"),
        (["study", "--config", "ce_digits.yaml"], "there are no rows in ce_digits.yaml"),
        (["study", "--config", "two.yaml", "--rows", "smal"], "nearest: small"),
        (["study", "--config", "two.yaml", "--rows", ","], "--rows: expected names of rows"),
        (["study", "--config", "two.yaml", "--seeds", "0;1"], "--seeds: expected whole numbers with commas between them"),
        (["study", "--config", "two.yaml", "--seed_everything", "1"], "write --seeds 0,1,2"),
        (["study", "--config", "two.yaml", "--row", "small"], "--row belongs to noisylab fit"),
        (["study", "--config", "two.yaml", "--data.bach_size", "1"], "nearest: batch_size"),
        (["study", "--config", "two.yaml", "--trainer.devices", "2"], "noisylab study trains in one process"),
        (["study", "--config", "two.yaml", "--run_dir", "."], "--run_dir . is not empty"),
        (["study", "--resume"], "--resume needs --run_dir"),
        (["study", "--run_dir", "S", "--resume"], "holds no study to continue"),
        (["study", "--run_dir", "S", "--resume", "--config", "two.yaml", "--seeds", "1"], "takes no --config, --seeds"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(argv) == 2
    text = capsys.readouterr().err
    assert told in text and "Traceback" not in text and len(text.splitlines()) <= 6
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "two.yaml"}
