"""The command auto: a race of methods, a choice that is explained, and the winner on all rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.cli.commands import auto
from noisylab.cli.commands.fit import fit
from noisylab.cli.main import main
from noisylab.cli.options import Options
from noisylab.reports import read_run, read_study

QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
RACE = ["auto", "--arrays", "a.npz", "--methods", "CE,GCE,ELR", "--compute", "4", "--val_fraction", "0.2", *QUICK]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = draw.normal(size=(300, 3)) + 1.5 * np.eye(3)[y]
    given = np.where(draw.random(300) < 0.3, (y + 1) % 3, y)
    np.savez("a.npz", x=x.astype(np.float32), y=given, y_true=y, class_names=np.array(["ant", "bee", "cow"]))


def record(folder: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "auto.json").read_text())
    return found


def test_the_better_methods_go_on_and_the_winner_is_trained_on_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RACE, "--run_dir", "run"]) == 0
    said, found = capsys.readouterr().out, record()
    first, last = found["rungs"]
    assert (first["share"], last["share"]) == (0.5, 1.0)
    order = [each["method"] for each in first["standings"]]
    accuracies = [each["accuracy"] for each in first["standings"]]
    assert sorted(order) == ["CE", "ELR", "GCE"] and accuracies == sorted(accuracies, reverse=True)
    assert [each["goes_on"] for each in first["standings"]] == [True, True, False]
    assert {each["method"] for each in last["standings"]} == set(order[:2])
    runs = {name: read_run(Path("run", name, "seed0")) for name in order}
    assert [runs[name].complete for name in order] == [True, True, False]
    assert (runs[order[2]].summary["ended_by"], runs[order[2]].summary["epochs"]) == ("Pause", 2)
    for rung in found["rungs"]:
        for each in rung["standings"]:
            curve = runs[each["method"]].curves["val/acc"]
            assert each["accuracy"] == curve.values[each["epochs"] - 1]
            assert each["standard_error"] == pytest.approx((each["accuracy"] * (1 - each["accuracy"]) / 60) ** 0.5)
    final = read_run(Path("run/final"))
    assert final.complete and final.method == runs[found["chosen"]].method
    assert (found["held_out_rows"], final.number("data", "num_train_used")) == (60, 300)
    assert runs[order[0]].number("data", "num_train_used") == 240
    assert found["final"] == {"folder": "final", "rows": 300, "test_accuracy": None}
    assert Path("run/auto.txt").read_text() in said and "What this cannot see" in said
    study = read_study("run")
    assert {cell.axes["method"]: cell.state for cell in study.cells} == {
        **dict.fromkeys(order[:2], "finished"),
        order[2]: "stopped",
    }
    differ = [np.load(Path("run", name, "seed0", "validation.npz")) for name in (found["best"], found["pair"]["second"])]
    places = differ[0]["index"][differ[0]["pred"] != differ[1]["pred"]].tolist()
    assert found["disagree"] == len(places) > 0
    with Path("run/to_check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["index"]) for row in rows) == sorted(places) and {row["given"] for row in rows} <= {"ant", "bee", "cow"}
    assert all(row["true"] == "" for row in rows), "true labels are for somebody to find out"


class _Killed(BaseException):
    """The end of the process."""


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_choice_that_is_killed_goes_on_to_the_same(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # three runs to the first rung, two on to the end, one on all rows
    assert main([*RACE, "--run_dir", "straight"]) == 0
    calls = 0

    def train(options: Options, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == at:
            raise _Killed
        return fit(options, **more)

    monkeypatch.setattr(auto, "fit", train)
    with pytest.raises(_Killed):
        main([*RACE, "--run_dir", "run"])
    assert main(["auto", "--run_dir", "run", "--resume"]) == 0
    assert calls == 7, "what was finished is not trained again"
    assert record() == record("straight")
    for name in ("final/metrics.csv", "CE/seed0/metrics.csv", "auto.txt"):
        assert Path("run", name).read_bytes() == Path("straight", name).read_bytes()
    assert main(["auto", "--run_dir", "run", "--resume"]) == 0
    assert calls == 7


def test_a_method_that_fails_is_out_and_said_to_be(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(options: Options, **more: Any) -> int:
        if "GCE" in options.own["run_dir"]:
            raise ValueError("the loss is not finite")
        return fit(options, **more)

    monkeypatch.setattr(auto, "fit", train)
    assert main([*RACE, "--run_dir", "run"]) == 0
    found = record()
    assert found["failed"] == {"GCE": "the loss is not finite"}
    assert {each["method"] for each in found["rungs"][0]["standings"]} == {"CE", "ELR"}
    assert "GCE ended with an error and was out: the loss is not finite" in capsys.readouterr().out


def test_with_keep_held_out_the_run_that_won_is_the_final_one() -> None:
    assert main([*RACE, "--run_dir", "run", "--keep_held_out"]) == 0
    found = record()
    assert found["final"]["folder"] == f"{found['chosen']}/seed0" and found["final"]["rows"] == 240
    assert not Path("run/final").exists()


def test_a_dry_run_shows_the_rungs_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RACE, "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "240 rows to train on, 60 held out, of 3 classes" in said
    assert "2.5 of 3 whole runs" in said  # three halves, and two more
    assert sorted(path.name for path in Path().iterdir()) == ["a.npz"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--methods", "ELR"], "--methods ELR: a choice needs two methods or more"),
        (["--val_fraction", "0"], "no rows are held out, and a method is chosen by rows that none was trained on"),
        (["--val_fraction", "0.05"], "only 15 of 300 rows are held out"),
        (["--data.val_labels", "clean"], "data.val_labels=clean: auto is for data without clean labels"),
        (["--eta", "1"], "--eta: of n methods, n / eta go on at each rung; expected 2 or more, got '1'"),
        (["--seed_everything", "x"], "--seed_everything: expected a whole number, got 'x'"),
        (["--model", "ELR"], "--model names one method"),
        (["--compute", "1"], "too little"),
        (["--trainer.max_epochs", "3"], "--trainer.max_epochs: give the budget with --compute"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_is_written(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["auto", "--arrays", "a.npz", "--run_dir", "run", *QUICK]
    compute = [] if "--compute" in flags else ["--compute", "40"]
    assert main([*base, *compute, *flags]) == 2
    assert said in capsys.readouterr().err
    assert not Path("run").exists()


def test_too_few_rows_are_refused_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with np.load("a.npz") as found:
        np.savez("few.npz", x=found["x"][:50], y=found["y"][:50])
    assert main(["auto", "--arrays", "few.npz", *QUICK]) == 2
    assert "with so few rows, compare several seeds instead" in capsys.readouterr().err


def test_only_a_choice_of_its_own_is_continued(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["auto", "--resume"]) == 2
    assert "--resume needs --run_dir" in capsys.readouterr().err
    assert main(["auto", "--run_dir", "run", "--resume", "--compute", "9"]) == 2
    assert "--resume continues the choice as it began, and takes no --compute" in capsys.readouterr().err
    Path("other").mkdir()
    Path("other/study.yaml").write_text(
        "format: 2\nname: s\nbaseline: null\nfile: null\nspec: {seeds: [0]}\n"
        "cells: [{folder: A/seed0, axes: {method: A, seed: '0'}, configs: [x.yaml], row: null, flags: []}]\n"
    )
    assert main(["auto", "--run_dir", "other", "--resume"]) == 2
    assert "--run_dir other holds a study that noisylab auto did not begin" in capsys.readouterr().err
