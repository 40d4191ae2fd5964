"""The command folds: a series of runs and what it comes to."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.callbacks import RunSummary
from noisylab.cli import main
from noisylab.data import Arrays

FLAGS = ["--model", "CrossEntropy", "--model.network", "MLP", "--model.network.in_features", "4", "--model.network.hidden", "[8]"]
FLAGS += ["--data", "Arrays", "--data.path", "a.npz", "--data.val_fraction", "0.2", "--trainer.max_epochs", "2"]
FLAGS += ["--trainer.accelerator", "cpu"]
SERIES = ["folds", *FLAGS, "--folds", "3"]


def write_arrays(folder: Path) -> None:
    labels = np.arange(66) % 3
    x = np.random.default_rng(0).normal(size=(66, 4)) + labels[:, None]
    np.savez(folder / "a.npz", x=x.astype("f4"), y=labels)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished series of three folds, without its data."""
    folder = tmp_path_factory.mktemp("series")
    write_arrays(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*SERIES, "--run_dir", "S"]) == 0
    return folder / "S"


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    write_arrays(tmp_path)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def texts(folder: Path) -> dict[str, bytes]:
    """The content of all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupt(monkeypatch: pytest.MonkeyPatch, fold: int, error: BaseException) -> None:
    """Let the training set of a fold be unreadable."""
    load = Arrays.load

    def fail(self: Arrays) -> Any:
        if self.fold == fold:
            raise error
        return load(self)

    monkeypatch.setattr(Arrays, "load", fail)


def test_mean_and_population_deviation_are_those_of_the_summaries(finished: Path) -> None:
    found = read(finished / "folds.json")
    summaries = [read(finished / f"fold{fold}" / "summary.json") for fold in range(3)]
    assert [(s["data"]["folds"], s["data"]["fold"]) for s in summaries] == [(3, 0), (3, 1), (3, 2)]
    assert (found["folds"], found["seed"], found["method"], found["data"]) == (3, 0, "CrossEntropy", "Arrays")
    for key in ("last", "last10_mean", "best_by_val"):
        a, b, c = (summary["test"]["headline"][key] for summary in summaries)
        assert [run[key] for run in found["runs"]] == [a, b, c]
        mean = (a + b + c) / 3
        std = (((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 3) ** 0.5
        assert found[key]["mean"] == pytest.approx(mean)
        assert found[key]["std"] == pytest.approx(std)
        assert found[key]["n"] == 3
    assert found["last"]["std"] > 0, "the folds must differ for this test to say something"
    assert found["protocol"].endswith("; the test set is each of 3 parts of the training rows in turn; seed 0")


def test_each_run_is_the_run_of_its_fold_alone(finished: Path) -> None:
    assert main(["fit", *FLAGS, "--data.folds", "3", "--data.fold", "2", "--run_dir", "alone"]) == 0
    assert Path("alone/metrics.csv").read_bytes() == (finished / "fold2" / "metrics.csv").read_bytes()
    assert sum(map(sum, read(finished / "fold2" / "summary.json")["test"]["headline"]["confusion"])) == 22


def test_a_run_without_folds_says_so(tmp_path: Path) -> None:
    assert main(["fit", *FLAGS, "--run_dir", "plain"]) == 0
    data = read(tmp_path / "plain" / "summary.json")["data"]
    assert data["folds"] is None
    assert data["fold"] is None


def test_finished_folds_are_kept_and_the_missing_one_is_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, "S")
    shutil.rmtree("S/fold1")
    Path("S/folds.json").unlink()
    before = {name: (Path("S") / name).stat().st_mtime_ns for name in texts(Path("S"))}
    assert main(["folds", "--run_dir", "S", "--resume"]) == 0
    assert {name: (Path("S") / name).stat().st_mtime_ns for name in before} == before
    assert Path("S/fold1/metrics.csv").read_bytes() == (finished / "fold1" / "metrics.csv").read_bytes()
    assert Path("S/folds.json").read_bytes() == (finished / "folds.json").read_bytes()
    shown = capsys.readouterr().out
    result = read(finished / "folds.json")
    for fold, run in enumerate(result["runs"]):
        assert [str(fold), *(f"{100 * run[key]:.2f}" for key in ("last", "last10_mean", "best_by_val"))] in [
            line.split() for line in shown.splitlines()
        ]
    assert f"{100 * result['last']['mean']:.2f} ± {100 * result['last']['std']:.2f}" in shown


@pytest.mark.slow
def test_an_error_ends_the_series_and_it_goes_on(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "fold0", "S/fold0")
    with monkeypatch.context() as patch:
        interrupt(patch, 1, ValueError("the disk is gone"))
        assert main(["folds", "--run_dir", "S", "--resume"]) == 2
    told = capsys.readouterr().err
    assert "noisylab: error: the disk is gone" in told
    assert "fold 1 of 0..2 ended with an error; once that is fixed, continue the folds with: noisylab folds --run_dir S" in told
    assert [path.name for path in Path("S").iterdir()] == ["fold0"]
    assert main(["folds", "--run_dir", "S", "--resume"]) == 0
    assert Path("S/folds.json").read_bytes() == (finished / "folds.json").read_bytes()


def test_ctrl_c_outside_of_training_has_the_exit_status_of_fit(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "fold0", "S/fold0")
    interrupt(monkeypatch, 1, KeyboardInterrupt())
    assert main(["folds", "--run_dir", "S", "--resume"]) == 130
    assert "fold 1 of 0..2 was interrupted; continue the folds with" in capsys.readouterr().err


@pytest.mark.slow
def test_a_fold_stopped_in_training_is_continued(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count = RunSummary.on_train_batch_end

    def ask_to_stop(self: Any, trainer: Any, *rest: Any) -> None:
        count(self, trainer, *rest)
        if trainer.datamodule.fold == 1 and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    shutil.copytree(finished / "fold0", "S/fold0")
    with monkeypatch.context() as patch:
        patch.setattr(RunSummary, "on_train_batch_end", ask_to_stop)
        assert main(["folds", "--run_dir", "S", "--resume"]) == 143
    assert "continue the folds with: noisylab folds --run_dir S --resume" in capsys.readouterr().err
    assert not Path("S/fold2").exists()
    shutil.copytree(finished / "fold2", "S/fold2")
    assert main(["folds", "--run_dir", "S", "--resume"]) == 0
    assert Path("S/folds.json").read_bytes() == (finished / "folds.json").read_bytes()
    assert Path("S/fold1/metrics.csv").read_bytes() == (finished / "fold1" / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_a_fold_stopped_before_its_first_checkpoint_starts_again(finished: Path) -> None:
    shutil.copytree(finished, "S")
    shutil.rmtree("S/fold1/checkpoints")
    Path("S/fold1/summary.json").unlink()
    assert main(["folds", "--run_dir", "S", "--resume"]) == 0
    assert Path("S/folds.json").read_bytes() == (finished / "folds.json").read_bytes()


def test_a_mistake_in_the_first_fold_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*SERIES, "--data.path", "nowhere.npz", "--run_dir", "S"]) == 2
    assert "continue the folds with" not in capsys.readouterr().err
    assert not (tmp_path / "S").exists()


@pytest.mark.slow
def test_the_number_of_folds_of_the_recipe_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["folds", *FLAGS, "--data.folds", "2", "--print_config"]) == 0
    (tmp_path / "two.yaml").write_text(capsys.readouterr().out)
    assert main(["folds", "--config", "two.yaml", "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "fold 0 of 0..1 of the training rows" in shown
    assert "2 such runs, one after the other, in the folders fold0 to fold1" in shown
    assert main(["folds", "--config", "two.yaml", "--folds", "4", "--dry_run"]) == 0
    assert "fold 0 of 0..3 of the training rows" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "two.yaml"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "needs --folds K, at least 2: the recipe's data.folds is 0"),
        (["--folds", "1"], "--folds: expected a whole number, 2 or more, got '1'"),
        (["--folds", "many"], "--folds: expected a whole number, 2 or more, got 'many'"),
        (["--folds"], "--folds needs a value"),
        (["--folds", "3", "--data.folds", "4"], "--folds and --data.folds mean the same; give one"),
        (["--folds", "3", "--data.fold", "1"], "--data.fold: noisylab folds trains on every fold"),
        (["--folds", "3", "--data.val_fraction", "1.0"], "val_fraction must be in [0, 1), got 1.0"),
        (["--folds", "3", "--data.fould", "1"], "nearest: fold"),
        (["--folds", "3", "--trainer.devices", "2"], "trains in one process, got trainer.devices=2"),
        (["--folds", "3", "--trainer.precision", "16-true"], "use 16-mixed or bf16-true"),
        (["--folds", "3", "--resume"], "--resume needs --run_dir"),
        (["--folds", "3", "--run_dir", "R", "--resume"], "--run_dir R holds no fold to continue"),
        (["--folds", "3", "--run_dir", "R", "--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
    ],
)
def test_mistakes_stop_before_any_data_is_read(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Arrays, "load", lambda self: pytest.fail("data was read"))
    assert main(["folds", *FLAGS, *flags]) == 2
    text = capsys.readouterr().err
    assert told in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 6
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz"}


def test_fit_does_not_take_the_flag_of_the_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FLAGS, "--folds", "3"]) == 2
    assert "belongs to noisylab folds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data.batch_size", "8"], "S/fold0 was trained with a configuration that differs from this command's"),
        (["--seed_everything", "5"], "S/fold0 was trained with a configuration that differs from this command's"),
        (["--trainer.max_epochs", "3"], "S/fold0 was trained with a configuration that differs from this command's"),
        (["--folds", "2"], "S/fold0 has fold 0 of 3, not fold 0 of 2"),
    ],
)
def test_folds_of_another_series_are_not_mixed_in(
    flags: list[str], told: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "S")
    shutil.rmtree("S/fold1")
    before = texts(Path("S"))
    assert main(["folds", "--run_dir", "S", "--resume", *flags]) == 2
    assert told in capsys.readouterr().err
    assert texts(Path("S")) == before


def test_a_checkpoint_of_another_fold_is_not_resumed(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished / "fold0", "R")
    assert main(["fit", "--run_dir", "R", "--data.fold", "1", "--trainer.max_epochs", "3", "--resume"]) == 2
    assert "data.fold 0, now 1" in capsys.readouterr().err


def test_a_used_folder_is_refused_and_replaced_only_when_asked(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, "S")
    before = texts(Path("S"))
    assert main([*SERIES, "--run_dir", "S"]) == 2
    assert main([*SERIES, "--data.path", "nowhere.npz", "--run_dir", "S", "--overwrite"]) == 2
    assert main(["folds", "--config", "S/fold0/config.yaml", "--run_dir", "S", "--overwrite"]) == 2
    assert texts(Path("S")) == before
    told = capsys.readouterr().err
    assert "--run_dir S is not empty" in told
    assert "--overwrite would delete S/fold0/config.yaml, which is in --run_dir S" in told
    assert main(["folds", *FLAGS, "--folds", "2", "--run_dir", "S", "--overwrite"]) == 0
    assert sorted(path.name for path in Path("S").iterdir()) == [".noisylab", "fold0", "fold1", "folds.json"]


def test_overwrite_spares_a_folder_without_folds(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished / "fold0", "R")
    before = texts(Path("R"))
    assert main([*SERIES, "--run_dir", "R", "--overwrite"]) == 2
    assert "holds no folds" in capsys.readouterr().err
    assert texts(Path("R")) == before


def test_compare_test_and_predict_take_the_folder_of_a_fold(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, "S")
    assert main(["compare", "S/fold0", "S/fold1", "--out", "c.png"]) == 0
    assert "CrossEntropy, S/fold1" in capsys.readouterr().out
    assert main(["test", "--run_dir", "S/fold1"]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(shown["test/acc"]) == pytest.approx(read(finished / "folds.json")["runs"][1]["last"], abs=1e-4)
    assert main(["predict", "--run_dir", "S/fold1", "--out", "p.csv"]) == 0
    rows = [line.split(",") for line in Path("p.csv").read_text().splitlines()[1:]]
    data = Arrays("a.npz", folds=3, fold=1)
    data.setup()
    assert [int(row) for row, *_ in rows] == data.split.fold.tolist()
    assert [int(label) for _, label, *_ in rows] == (data.split.fold % 3).tolist()


@pytest.mark.slow
def test_each_fold_is_a_run_of_its_own_for_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main(["folds", *FLAGS, "--folds", "2", "--trainer.max_epochs", "1", "--logger", "wandb", "--run_dir", "S"]) == 0
    assert wandb.run is None
    wandb.teardown()
    for fold in range(2):
        assert len(list((tmp_path / f"S/fold{fold}").glob("wandb/offline-run-*/run-*.wandb"))) == 1
