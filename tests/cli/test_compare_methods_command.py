"""`noisylab compare-methods`, as a user types it, on tiny data."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from noisylab.cli import main
from noisylab.cli.commands.compare_ground import find_ground
from noisylab.cli.configuration.studyfile import spec_of
from noisylab.cli.errors import UserError
from noisylab.cli.options import parse
from noisylab.cli.studies.comparison import Timing, asked_for, noises_of, seeds_of
from noisylab.cli.studies.methodset import MethodPlan, method_set
from noisylab.cli.studies.plan import make_plan

COMPARE = ("compare-methods", "--arrays", "a.npz")


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    classes = np.arange(90) % 3
    rows = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    rows[:, :3] += 2 * np.eye(3, dtype=np.float32)[classes]
    np.savez("a.npz", x=rows[:60], y=classes[:60], test_x=rows[60:], test_y=classes[60:])
    np.savez("no_test.npz", x=rows, y=classes)
    np.savez("truth.npz", x=rows, y=(classes + (np.arange(90) < 5)) % 3, y_true=classes)
    np.savez("no_labels.npz", x=rows)


def plan_of(folder: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((Path(folder) / "study.yaml").read_text())
    return loaded


def test_a_comparison_is_planned_said_trained_and_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*COMPARE, "--methods", "CE,ELR", "--compute", "2", "--seeds", "1", "--noise", "sym30", "--run_dir", "r"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "54 rows to train on, 6 held out, of 3 classes; a perceptron" in said
    assert "at most about 2 epochs of cross-entropy each (equal compute)" in said
    assert "2 methods x 1 seed (0) x 1 noise (sym30) = 2" in said
    assert "6 of 60 rows are held out, with the labels they have: one split, the same for all runs" in said
    assert "accuracy on 30 test rows after the last epoch, never the best test epoch" in said
    assert re.search(r"sym30: .*one seed cannot tell", said)
    assert said.rstrip().endswith("report: noisylab report r")
    assert said.index("budget ") < said.index("run 1 of 2") < said.index("study: r/study.json") < said.index("one seed cannot")
    plan = plan_of("r")
    assert [cell["folder"] for cell in plan["cells"]] == ["CE/sym30/seed0", "ELR/sym30/seed0"]
    assert plan["baseline"] == "CE" and plan["spec"]["budget"] == {"compute": 2}
    recipes = {name: yaml.safe_load(Path(f"r/recipes/{name}.yaml").read_text()) for name in ("CE-sym30", "ELR-sym30")}
    assert recipes["CE-sym30"]["data"]["init_args"]["noise"]["class_path"].endswith("Symmetric")
    assert recipes["CE-sym30"]["model"]["init_args"]["network"] == recipes["ELR-sym30"]["model"]["init_args"]["network"]
    flags = dict(map(tuple, plan["cells"][0]["flags"]))
    assert flags == {"seed_everything": "0", "data.noise.seed": "0"}
    assert main(["compare-methods", "--run_dir", "r", "--resume"]) == 0  # nothing is left to be trained
    assert "run 2 of 2 (ELR, sym30, seed 0) is finished" in capsys.readouterr().out


@pytest.mark.slow
def test_a_recipe_of_a_comparison_runs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMPARE, "--methods", "GCE,ELR", "--epochs", "2", "--seeds", "4,", "--run_dir", "r"]) == 0
    assert plan_of("r")["baseline"] == "GCE"
    assert main(["fit", "--config", "r/recipes/ELR.yaml", "--seed_everything", "4", "--run_dir", "again"]) == 0
    first, again = (json.loads((Path(run) / "summary.json").read_text()) for run in ("r/ELR/seed4", "again"))
    assert first["test"]["headline"]["last"] == again["test"]["headline"]["last"]


def test_a_dry_run_says_the_plan_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = set(Path().iterdir())
    assert main([*COMPARE, "--dry_run", "--noise", "pair20"]) == 0
    said = capsys.readouterr().out
    for name, epochs in {"CE": 60, "GCE": 60, "ELR": 60, "CoTeaching": 30, "ACT": 22, "DivideMix": 11}.items():
        assert re.search(rf"^{name} +{epochs} ", said, re.M), name
    assert re.search(r"6 methods x 3 seeds \(0, 1, 2\) x 1 noise \(pair20\) = 18; about .* in all", said)
    assert set(Path().iterdir()) == before


def test_network_optimizer_and_batches_of_a_recipe_stay() -> None:
    recipe = {
        "model": {
            "class_path": "RobustLoss",
            "init_args": {
                "network": {"class_path": "MLP", "init_args": {"in_features": 4, "hidden": [5]}},
                "optimizer": {"class_path": "SGD", "init_args": {"lr": 0.05}},
            },
        },
        "data": {"class_path": "Arrays", "init_args": {"path": "a.npz", "batch_size": 10, "val_fraction": 0.2}},
        "trainer": {"max_epochs": 7, "accelerator": "cpu"},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    options = parse(["compare-methods", "--config", "mine.yaml", "--methods", "CE,CoTeaching", "--epochs", "6"])
    asked, ground = asked_for(options.own), find_ground(options, sys.stdout)
    assert ground.epochs == 7 and (ground.setup.rows, ground.data.info.num_val) == (48, 12)
    plans = method_set(asked.methods, ground.setup, 6, compute=False)
    plan = make_plan(spec_of(ground.study(asked, plans, 6), "s", "compare-methods"))
    made = yaml.safe_load(plan.recipes["CoTeaching.yaml"])
    arguments = made["model"]["init_args"]
    assert arguments["network"]["init_args"]["hidden"] == [5]
    assert arguments["optimizer"]["init_args"]["lr"] == 0.05
    assert arguments["scheduler"]["init_args"]["T_max"] == 6
    assert made["trainer"]["max_epochs"] == 6 and not plan.notes
    assert made["data"]["init_args"]["batch_size"] == 10 and made["data"]["init_args"]["val_fraction"] == 0.2


def test_a_method_of_half_batches_has_them_and_a_switch_of_the_recipe_stays() -> None:
    flags = ["--checkpoint.monitor", "val/loss", "--data.batch_size", "10"]
    options = parse(["compare-methods", "--arrays", "a.npz", *flags])
    asked, ground = asked_for(options.own), find_ground(options, sys.stdout)
    plans = method_set(asked.methods, ground.setup, 60, compute=True)
    plan = make_plan(spec_of(ground.study(asked, plans, 60), "s", "compare-methods"))
    made = {name: yaml.safe_load(text) for name, text in plan.recipes.items()}
    assert {name: recipe["data"]["init_args"]["batch_size"] for name, recipe in made.items()} == {
        **dict.fromkeys(made, 10),
        "DivideMix.yaml": 5,
    }
    assert all(recipe["checkpoint"]["monitor"] == "val/loss" for recipe in made.values())
    assert len({str(recipe["model"]["init_args"]["network"]) for recipe in made.values()}) == 1


def test_a_data_class_and_its_arguments_may_be_flags(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare-methods", "--data", "Arrays", "--data.path", "no_test.npz", "--data.batch_size", "9", "--methods", "CE,ELR"]
    assert main([*argv, "--dry_run", "--noise", "sym30,none"]) == 0
    said = capsys.readouterr().out
    assert "batches of 9" in said and "2 methods x 3 seeds (0, 1, 2) x 2 noises (sym30, none) = 12" in said
    assert "no test rows: reported is, after the last epoch, the accuracy on the held-out rows by their given labels" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--methods", "CE,DivdeMix"], "nearest: DivideMix"),
        (["--methods", "CE,L2R"], "L2R cannot be in the comparison: it needs some rows whose labels are known to be right"),
        (["--methods", "FixMatch"], "it learns from unlabeled rows"),
        (["--seeds", "0;1"], "--seeds: expected a number of seeds, as 3, or seeds with commas between them"),
        (["--seeds", "0"], "--seeds: expected a number of seeds"),
        (["--seeds", "1,1"], "--seeds: 1 is named twice"),
        (["--compute", "12"], "--compute 12 is too little for ACT (4 of at least 6 epochs), DivideMix (2 of at least 6 epochs)"),
        (["--epochs", "3"], "--epochs 3 is too few for CoTeaching (at least 6)"),
        (["--epochs", "ten"], "--epochs: expected a whole number of epochs, 1 or more, got 'ten'"),
        (["--epochs", "6", "--compute", "60"], "give one of the two"),
        (["--jobs", "0"], "--jobs: expected how many runs are trained at once"),
        (["--noise", "sym"], "got 'sym': sym40 for 40 % symmetric noise"),
        (["--noise", "sym40,sym40"], "--noise: sym40 is named twice"),
        (["--model", "ELR"], "name those to compare with --methods"),
        (["--model.loss", "SCE"], "settings of one method belong in a STUDY.yaml"),
        (["--trainer.max_epochs", "3"], "give the budget with --compute, or --epochs"),
        (["--seed_everything", "3"], "give the seeds of the runs with --seeds"),
        (["--data.noise.seed", "3"], "the seed of the noise is that of the run"),
        (["--images", "photos"], "--images and --arrays exclude each other"),
        (["--data", "Digits"], "--arrays and --data exclude each other"),
        (["--data.bach_size", "3"], "nearest: batch_size"),
        (["--lr", "3"], "flag: 'lr' is not known"),
        (["--val_fraction", "1.5"], "val_fraction"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_said_and_nothing_written(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(Path().iterdir())
    assert main([*COMPARE, *argv, "--run_dir", "r"]) == 2
    assert said in capsys.readouterr().err
    assert set(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "noisylab compare-methods needs data: --images DIR"),
        (["--arrays", "no_labels.npz"], "y"),
        (["--arrays", "missing.npz"], "missing.npz"),
        (["--arrays", "truth.npz", "--noise", "sym40"], "5 of 90 labels already differ from the true ones"),
        (["--arrays", "no_test.npz", "--val_fraction", "0"], "there are no test rows and none are held out"),
        (["--config", "digits.yaml", "--noise", "sym40"], "the data have a noise already"),
        (["--resume"], "--resume needs --run_dir"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_data_that_cannot_be_compared_on_are_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare-methods", *argv]) == 2
    assert said in capsys.readouterr().err
    assert not Path("runs").exists()


def test_flags_are_read() -> None:
    asked = asked_for({"methods": "ACT,GCE", "seeds": "2", "epochs": "9", "noise": "pair45"})
    assert (asked.methods, asked.seeds, asked.budget, asked.compute, asked.baseline) == (("ACT", "GCE"), (0, 1), 9, False, "ACT")
    assert asked.noises == {"pair45": {"class_path": "PairFlip", "init_args": {"rate": 0.45}}}
    assert asked_for({}).baseline == "CE" and asked_for({}).compute
    assert seeds_of("7,") == (7,)
    with pytest.raises(UserError, match="sym0"):
        noises_of("sym0")


def test_the_time_counts_passes_and_evaluations() -> None:
    one = MethodPlan("CE", {}, epochs=10, warmup=0, passes=10, batch_size=64, priced="CrossEntropy")
    two = MethodPlan("CoTeaching", {}, epochs=5, warmup=0, passes=10, batch_size=64, priced="CoTeaching")
    timing = Timing(step_seconds=0.5, steps=20, evaluated=6)
    assert timing.of(one) == pytest.approx(0.5 * (10 * 20 + 10 * 6 / 3))
    assert timing.of(two) == pytest.approx(0.5 * (10 * 20 + 5 * 2 * 6 / 3))
