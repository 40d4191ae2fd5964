"""The command sweep: trials that are ordinary runs, stopped early, killed, failed and continued."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.cli import main
from noisylab.cli.commands import sweep as module
from noisylab.cli.commands.fit import fit
from noisylab.cli.sweeps.storage import StorageLocked
from noisylab.reports import read_run

RECIPE = """
seed_everything: 7
model:
  class_path: CrossEntropy
  init_args:
    network: {class_path: MLP, init_args: {in_features: 4, hidden: [8]}}
    optimizer: {class_path: SGD, init_args: {lr: 0.1, momentum: 0.9}}
data: {class_path: Arrays, init_args: {path: a.npz, batch_size: 16, val_fraction: 0.2}}
trainer: {max_epochs: 5, accelerator: cpu}
"""
SWEEP = """
base: toy.yaml
search:
  model.optimizer.lr: {low: 1e-5, high: 1, log: true}
  model.optimizer.momentum: [0.0, 0.9]
average: 2
startup: 2
grace: 1
trials: 8
"""


def write(folder: Path) -> None:
    labels = np.arange(90) % 3
    x = np.random.default_rng(0).normal(size=(90, 4)) + 2 * np.eye(4)[labels]
    np.savez(folder / "a.npz", x=x.astype("f4"), y=labels, x_test=x[:30].astype("f4"), y_test=labels[:30])
    (folder / "toy.yaml").write_text(RECIPE)
    (folder / "s.yaml").write_text(SWEEP)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["sweep", "s.yaml", "--run_dir", "S"]) == 0
    return folder / "S"


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    write(tmp_path)


def record(folder: Path) -> dict[int, dict[str, Any]]:
    trials = json.loads((folder / "sweep.json").read_text())["trials"]
    return {row["trial"]: row for row in trials}


def timeless(folder: Path) -> dict[int, dict[str, Any]]:
    return {n: {k: v for k, v in row.items() if k not in ("seconds", "attempts")} for n, row in record(folder).items()}


def curve(folder: Path, number: int) -> list[float]:
    return [float(value) for value in read_run(folder / f"trial-{number:04d}").curves["val/acc"].values]


@pytest.mark.slow
def test_the_value_of_a_trial_is_the_mean_of_its_last_epochs(finished: Path) -> None:
    trials = record(finished)
    assert sorted(trials) == list(range(8))
    done = [row for row in trials.values() if row["state"] == "finished"]
    for row in done:
        values = curve(finished, row["trial"])
        assert len(values) == row["epochs"] == 5
        assert row["value"] == pytest.approx(statistics.fmean(values[-2:]))
        assert row["error"] == pytest.approx((row["value"] * (1 - row["value"]) / 18) ** 0.5)  # a fifth of 90 rows
    assert json.loads((finished / "sweep.json").read_text())["best"] == max(done, key=lambda row: row["value"])["trial"]


@pytest.mark.slow
def test_the_first_trial_has_the_values_of_the_recipe(finished: Path) -> None:
    assert record(finished)[0]["values"] == {"model.optimizer.lr": 0.1, "model.optimizer.momentum": "0.9"}
    assert main(["fit", "--config", "toy.yaml", "--run_dir", "alone"]) == 0
    assert Path("alone/metrics.csv").read_bytes() == (finished / "trial-0000/metrics.csv").read_bytes()


@pytest.mark.slow
def test_a_trial_is_stopped_where_it_is_below_the_median_of_those_before(finished: Path) -> None:
    trials = record(finished)
    pruned = [number for number, row in trials.items() if row["state"] == "pruned"]
    assert pruned
    for number, row in trials.items():
        before = [curve(finished, other) for other in range(number) if trials[other]["state"] == "finished"]
        values = curve(finished, number)
        below = [
            len(before) >= 2 and max(values[: epoch + 1]) < statistics.median(other[epoch] for other in before)
            for epoch in range(len(values))
        ]
        assert (row["state"] == "pruned") == (len(values) < 5) == (True in below[:4]), number
        if number in pruned:
            assert below.index(True) == len(values) - 1
            summary = read_run(finished / f"trial-{number:04d}").summary
            assert (summary["complete"], summary["ended_by"], row["value"]) == (False, "Pause", values[-1])


@pytest.mark.slow
def test_the_best_recipe_repeats_the_best_trial(finished: Path) -> None:
    best = json.loads((finished / "sweep.json").read_text())["best"]
    assert main(["fit", "--config", str(finished / "best.yaml"), "--run_dir", "again"]) == 0
    assert Path("again/metrics.csv").read_bytes() == (finished / f"trial-{best:04d}/metrics.csv").read_bytes()
    assert (finished / "best.yaml").read_text().startswith("# The best of ")


@pytest.mark.slow
def test_the_table_warns_and_does_not_show_the_test_set(finished: Path) -> None:
    text = (finished / "sweep.txt").read_text()
    assert "is optimistic: it was chosen for its value on these held-out rows" in text
    assert "are too few to say which of 2 values matters; 10 are needed" in text
    assert "test" not in text
    rows = list(csv.DictReader((finished / "sweep.csv").read_text().splitlines()))
    assert [int(row["trial"]) for row in rows] == [
        row["trial"] for row in json.loads((finished / "sweep.json").read_text())["trials"]
    ]
    assert not any(name.startswith("test/") for name in rows[0])


@pytest.mark.slow
def test_the_best_trial_is_set_beside_the_recipes_own_values(finished: Path) -> None:
    best = json.loads((finished / "sweep.json").read_text())["best"]
    right = {}
    for number in (best, 0):
        with np.load(finished / f"trial-{number:04d}" / "validation.npz") as file:
            right[number] = file["given"] == file["pred"]
    ahead, behind = int((right[best] & ~right[0]).sum()), int((right[0] & ~right[best]).sum())
    told = (finished / "sweep.txt").read_text()
    assert best == 0 or f"18 rows: {100 * (ahead - behind) / 18:+.2f}" in told
    assert ("own values (trial 0)" in told) == (best != 0)


@pytest.mark.slow
def test_databases_and_other_searches_work_from_end_to_end() -> None:
    words = ["--storage", "sqlite", "--sampler", "random", "--pruner", "hyperband", "--objective", "val/loss"]
    assert main(["sweep", "s.yaml", "--run_dir", "S", "--trials", "4", *words]) == 0
    done = [row for row in record(Path("S")).values() if row["state"] == "finished"]
    best = json.loads(Path("S/sweep.json").read_text())["best"]
    assert best == min(done, key=lambda row: row["value"])["trial"]
    assert all(row["error"] is None for row in done)


@pytest.mark.slow
def test_more_trials_go_on_from_those_there_are(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, "S")
    assert main(["sweep", "--run_dir", "S", "--resume", "--trials", "9"]) == 0
    now, before = timeless(Path("S")), timeless(finished)
    assert {number: now[number] for number in before} == before
    assert sorted(now) == list(range(9))
    assert "test acc" not in "".join(capsys.readouterr())


@pytest.mark.slow
def test_a_killed_sweep_comes_to_the_same_trials(finished: Path) -> None:
    command = [sys.executable, "-m", "noisylab", "sweep", "s.yaml", "--run_dir", "S"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not Path("S/trial-0001/checkpoints/last.ckpt").exists() and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert main(["sweep", "--run_dir", "S", "--resume"]) == 0
    assert timeless(Path("S")) == timeless(finished)
    for number in (0, 1):
        one, other = (folder / f"trial-{number:04d}/metrics.csv" for folder in (Path("S"), finished))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_two_workers_share_the_trials(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "s.yaml", "--run_dir", "S", "--jobs", "2", "--trials", "3", "--pruner", "none"]) == 0
    assert [row["state"] for row in record(Path("S")).values()] == ["finished"] * 3
    assert [row["attempts"] for row in record(Path("S")).values()] == [1, 1, 1]
    assert capfd.readouterr().out.count("best: trial") == 1  # the table is printed once, not by every worker


@pytest.mark.slow
def test_a_trial_killed_before_its_first_checkpoint_begins_anew(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def train(options: Any, **kwargs: Any) -> int:
        fit(options, **kwargs)
        place = Path(options.own["run_dir"])
        shutil.rmtree(place / "checkpoints")
        (place / "summary.json").unlink()
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "fit", train)
        main(["sweep", "s.yaml", "--run_dir", "S", "--trials", "1"])
    assert len(Path("S/trial-0000/metrics.csv").read_text().splitlines()) > 1
    assert main(["sweep", "--run_dir", "S", "--resume"]) == 0
    assert timeless(Path("S"))[0] == timeless(finished)[0]


@pytest.mark.slow
def test_a_locked_storage_is_no_fault_of_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(options: Any, **kwargs: Any) -> int:
        raise StorageLocked("database is locked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit", train)
        assert main(["sweep", "s.yaml", "--run_dir", "S", "--trials", "1"]) == 2
    assert main(["sweep", "--run_dir", "S", "--resume"]) == 0
    assert record(Path("S"))[0]["state"] == "finished"


@pytest.mark.slow
def test_a_trial_that_is_stopped_in_order_goes_on_as_often_as_you_like(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([130, 143, 130, 130])

    def train(options: Any, **kwargs: Any) -> int:
        return next(turns, 0) or fit(options, **kwargs)

    monkeypatch.setattr(module, "fit", train)
    assert main(["sweep", "s.yaml", "--run_dir", "S", "--trials", "1"]) == 130
    assert [main(["sweep", "--run_dir", "S", "--resume"]) for _ in range(4)] == [143, 130, 130, 0]
    assert (record(Path("S"))[0]["state"], record(Path("S"))[0]["attempts"]) == ("finished", 5)


def failing(numbers: set[int]) -> Any:
    def train(options: Any, **kwargs: Any) -> int:
        if int(options.own["run_dir"][-4:]) in numbers:
            raise MemoryError("8 GiB more were asked for")
        return fit(options, **kwargs)

    return train


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "fit", failing({0}))
    assert main(["sweep", "s.yaml", "--run_dir", "S", "--trials", "2"]) == 0
    assert {number: row["state"] for number, row in record(Path("S")).items()} == {0: "failed", 1: "finished"}
    assert record(Path("S"))[0]["message"].startswith("out of memory: 8 GiB more were asked for")
    assert "trial 0 failed: out of memory" in capsys.readouterr().out


@pytest.mark.slow
def test_the_sweep_ends_where_nothing_but_failures_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "fit", failing(set(range(8))))
    assert main(["sweep", "s.yaml", "--run_dir", "S"]) == 2
    assert len(record(Path("S"))) == 3
    assert "3 trials failed and none came to its end; the first, trial 0: out of memory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def train(options: Any, **kwargs: Any) -> int:
        if options.own["run_dir"].endswith("0001"):
            raise Killed
        return fit(options, **kwargs)

    monkeypatch.setattr(module, "fit", train)
    start = ["sweep", "s.yaml", "--run_dir", "S", "--trials", "3"]
    for command in (start, *[["sweep", "--run_dir", "S", "--resume"]] * 2):
        with pytest.raises(Killed):
            main(command)
    assert main(["sweep", "--run_dir", "S", "--resume"]) == 0
    found = record(Path("S"))
    assert [found[number]["state"] for number in (0, 1, 2)] == ["finished", "failed", "finished"]
    assert found[1]["message"] == "its worker was killed 3 times, perhaps for lack of memory"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("average: 2=average: 1", "average 2, now 1"),
        ("high: 1,=high: 2,", "search model.optimizer.lr log:1e-05..1, now log:1e-05..2"),
        ("average: 2=average: 2\nstorage: sqlite", "storage journal, now sqlite"),
        ("max_epochs: 5=max_epochs: 6", "trainer.max_epochs 5, now 6"),
    ],
)
def test_another_plan_is_refused_with_the_difference(
    finished: Path, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, "S")
    before, after = change.split("=")
    for name in ("toy.yaml", "s.yaml"):
        Path(name).write_text(Path(name).read_text().replace(before, after).replace("a.npz", str(finished.parent / "a.npz")))
    assert main(["sweep", "s.yaml", "--run_dir", "S", "--resume"]) == 2
    assert f"this command changes: {message}\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recipe_changed_in_the_folder_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, "S")
    Path("S/base.yaml").write_text(Path("S/base.yaml").read_text().replace("batch_size: 16", "batch_size: 17"))
    assert main(["sweep", "--run_dir", "S", "--resume"]) == 2
    assert "began with another plan: data.batch_size 16, now 17" in capsys.readouterr().err


BASE = ["sweep", "--config", "toy.yaml", "--search", "model.optimizer.lr=log:1e-3..1"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sweep"], "noisylab sweep needs a recipe"),
        (["sweep", "--config", "toy.yaml"], "needs at least one value to search"),
        (["sweep", "no.yaml"], "no.yaml: there is no such file"),
        ([*BASE, "--objective", "test/acc"], "--objective test/acc: the test set is for the one model that is chosen in the end"),
        ([*BASE, "--objective", "memorization/clean_acc"], "it is computed from true labels"),
        ([*BASE, "--objective", "select/precision"], "it is computed from true labels"),
        ([*BASE, "--objective", "accuracy"], "expected a metric of the held-out rows"),
        ([*BASE, "--pruner", "mdeian"], "--pruner: 'mdeian' is not known\n  nearest: median"),
        ([*BASE, "--trials", "0"], "--trials: expected a whole number, 1 or more, got '0'"),
        ([*BASE, "--jobs", "two"], "--jobs: expected a whole number, 1 or more, got 'two'"),
        ([*BASE, "--storage", "postgres"], "--storage postgres: expected journal"),
        ([*BASE, "--search", "data.val_fraction=0.1..0.3"], "it decides which rows are held out"),
        ([*BASE, "--search", "seed_everything=0,1"], "so the trials could not be compared"),
        ([*BASE, "--search", "model.optimizer.lr=1,2"], "--search model.optimizer.lr is given twice"),
        ([*BASE, "--search", "data.batch_size=8..64"], "of whole numbers: --search data.batch_size=int:8..64"),
        ([*BASE, "--search", "model.regularization=1,3"], "key of CrossEntropy: 'regularization' is not known"),
        ([*BASE, "--search", "model.network=MLP,Unknown"], "'Unknown' is not known"),
        ([*BASE, "--search", "lr"], "expected KEY=VALUES"),
        ([*BASE, "--trainer.devices", "2"], "noisylab sweep trains in one process, got trainer.devices=2"),
        (["sweep", "--resume"], "--resume needs --run_dir"),
        (["sweep", "--run_dir", "nothing", "--resume"], "holds no sweep to continue"),
    ],
)
def test_mistakes_are_said_before_data_are_read(command: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.npz").unlink()
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("startup=start", "s.yaml: key: 'start' is not known\n  nearest: startup"),
        ("average: 2=average: 0", "s.yaml: average: expected a whole number, 1 or more, got 0"),
        ("base: toy.yaml=base: toi.yaml", "no file 'toi.yaml'"),
        ("low: 1e-5=low: -1", "s.yaml: search model.optimizer.lr=log:-1..1: a log scale needs ends above 0"),
    ],
)
def test_mistakes_in_the_file_are_named(change: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = change.split("=")
    Path("s.yaml").write_text(SWEEP.replace(before, after))
    assert main(["sweep", "s.yaml"]) == 2
    assert message in capsys.readouterr().err


def test_rows_are_held_out_where_the_recipe_does_not_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("toy.yaml").write_text(RECIPE.replace(", val_fraction: 0.2", ""))
    assert main([*BASE, "--dry_run"]) == 0
    told = capsys.readouterr()
    assert "note: the recipe holds no rows out, so data.val_fraction is set to 0.1" in told.err
    assert "81 training, 9 held out" in told.out
    assert "searched   model.optimizer.lr: log:0.001..1" in told.out


@pytest.mark.slow
def test_a_table_of_ones_own_is_searched_without_a_recipe() -> None:
    rows = [f"{row % 3 + 0.01 * row},{row % 7},{'xyz'[row % 3]}" for row in range(60)]
    Path("t.csv").write_text("\n".join(["a,b,kind", *rows]) + "\n")
    flags = [
        "--model",
        "CrossEntropy",
        "--model.network",
        "MLP",
        "--model.network.in_features",
        "auto",
        "--trainer.accelerator",
        "cpu",
        "--trainer.max_epochs",
        "2",
    ]
    search = ["--search", "model.network.hidden=[8],[16]", "--trials", "2", "--run_dir", "S"]
    assert main(["sweep", "--dataset", "t.csv", "--label", "kind", *flags, *search]) == 0
    assert {row["values"]["model.network.hidden"] for row in record(Path("S")).values()} <= {"[8]", "[16]"}
    assert [row["state"] for row in record(Path("S")).values()] == ["finished"] * 2
    assert read_run(Path("S/trial-0000")).recipe == "crossentropy"


@pytest.mark.slow
def test_a_sweep_that_holds_nothing_out_on_purpose_fails_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--data.val_fraction", "0", "--trials", "1", "--trainer.max_epochs", "1"]) == 2
    assert "val/acc was never logged; val/... needs held-out rows: data.val_fraction 0.1" in capsys.readouterr().err


def test_clean_held_out_labels_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--data.val_labels", "clean", "--dry_run"]) in (0, 2)
    assert "data.val_labels is clean: trials are compared by true labels" in capsys.readouterr().err


def test_a_folder_that_is_not_free_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("S").mkdir()
    Path("S/mine.txt").write_text("mine")
    assert main([*BASE, "--run_dir", "S"]) == 2
    assert "--run_dir S is not empty" in capsys.readouterr().err
    Path("S/sweep.yaml").write_text("format: 1")
    assert main([*BASE, "--run_dir", "S"]) == 2
    assert "holds a sweep already\n  add --resume" in capsys.readouterr().err
    assert sorted(path.name for path in Path("S").iterdir()) == ["mine.txt", "sweep.yaml"]
