"""A study file: methods, settings, noises, seeds and folds become cells, each with a whole recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from noisylab.cli import main
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.studyfile import spec_of
from noisylab.cli.configuration.studyplan import Plan
from noisylab.cli.errors import UserError
from noisylab.cli.studies.plan import make_plan

BASE = """
data: {class_path: Arrays, init_args: {path: a.npz, val_fraction: 0.2, batch_size: 16}}
trainer: {max_epochs: 4, accelerator: cpu}
"""
NETWORK = {"class_path": "MLP", "init_args": {"in_features": 4, "hidden": [8]}}
SPEC: dict[str, Any] = {
    "base": "base.yaml",
    "network": NETWORK,
    "methods": {"CE": "CrossEntropy", "ELR": {"class_path": "ELR", "init_args": {"regularization": 2.0}}},
    "noise": {"sym": {"class_path": "Symmetric", "init_args": {"rate": 0.4}}, "given": None},
    "seeds": [3, 1],
}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.arange(60) % 3
    x = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None]
    np.savez("a.npz", x=x.astype("f4"), y=labels, x_test=x[:30].astype("f4"), y_test=labels[:30])
    Path("base.yaml").write_text(BASE)


def plan(**changes: Any) -> Plan:
    raw = {key: value for key, value in {**SPEC, **changes}.items() if value is not ...}
    return make_plan(spec_of(raw, "s", "s.yaml", Path("s.yaml").absolute()))


def recipe(found: Plan, name: str) -> Any:
    return yaml.safe_load(found.recipes[name])


def test_cells_are_the_product_of_the_axes_in_the_order_of_training() -> None:
    found = plan()
    assert [cell.folder for cell in found.cells] == [
        f"{method}/{noise}/seed{seed}" for seed in (1, 3) for noise in ("sym", "given") for method in ("CE", "ELR")
    ]
    assert found.cells[0].axes == {"method": "CE", "noise": "sym", "seed": "1"}
    assert found.baseline == "CE" and set(found.recipes) == {"CE-sym.yaml", "CE-given.yaml", "ELR-sym.yaml", "ELR-given.yaml"}


def test_each_recipe_is_whole_and_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in plan().recipes.items():
        Path(name).write_text(text)
    monkeypatch.chdir(tmp_path.parent)  # paths are absolute
    config = compose([str(tmp_path / "ELR-sym.yaml")], []).config
    arguments = config["model"]["init_args"]
    assert config["model"]["class_path"].endswith(".ELR") and arguments["regularization"] == 2.0
    assert arguments["network"]["init_args"] == NETWORK["init_args"]
    assert config["data"]["init_args"]["path"] == str(tmp_path / "a.npz")
    assert config["data"]["init_args"]["noise"]["init_args"]["rate"] == 0.4
    assert config["recipe"] == "ELR-sym"
    assert compose([str(tmp_path / "CE-given.yaml")], []).config["data"]["init_args"].get("noise") is None


def test_all_methods_of_a_seed_see_the_same_labels_and_a_seed_of_its_own_stays() -> None:
    flags = {cell.folder: dict(cell.flags) for cell in plan().cells}
    assert flags["CE/sym/seed3"] == flags["ELR/sym/seed3"] == {"seed_everything": "3", "data.noise.seed": "3"}
    assert flags["CE/given/seed3"] == {"seed_everything": "3"}
    fixed = plan(noise={"sym": {"class_path": "Symmetric", "init_args": {"rate": 0.4, "seed": 7}}})
    assert dict(fixed.cells[0].flags) == {"seed_everything": "1"}
    assert recipe(fixed, "CE-sym.yaml")["data"]["init_args"]["noise"]["init_args"]["seed"] == 7


def test_settings_of_a_method_come_before_those_of_all() -> None:
    fast, slow = {"model.optimizer.lr": 0.5}, {"model.optimizer.lr": 0.01, "data.batch_size": 8}
    found = plan(
        optimizer="SGD",
        settings={"fast": fast, "slow": slow},
        methods={"CE": "CrossEntropy", "ELR": {"class_path": "ELR", "settings": {"strong": {"model.regularization": 7}}}},
        noise=...,
        seeds=1,
    )
    assert [cell.axes for cell in found.cells] == [
        {"method": "CE", "setting": "fast", "seed": "0"},
        {"method": "CE", "setting": "slow", "seed": "0"},
        {"method": "ELR", "setting": "strong", "seed": "0"},
    ]
    assert [cell.folder for cell in found.cells] == ["CE-fast/seed0", "CE-slow/seed0", "ELR-strong/seed0"]
    slow_recipe = recipe(found, "CE-slow.yaml")
    assert slow_recipe["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.01
    assert slow_recipe["data"]["init_args"]["batch_size"] == 8
    assert recipe(found, "ELR-strong.yaml")["model"]["init_args"]["regularization"] == 7


def test_folds_are_cells_and_share_of_held_out_rows_is_one_for_all() -> None:
    found = plan(folds=3, seeds=1, noise=..., held_out=0.1)
    assert [cell.folder for cell in found.cells] == [
        f"{method}/seed0/fold{fold}" for fold in range(3) for method in ("CE", "ELR")
    ]
    assert dict(found.cells[2].flags) == {"seed_everything": "0", "data.fold": "1"}
    arguments = recipe(found, "CE.yaml")["data"]["init_args"]
    assert (arguments["folds"], arguments["val_fraction"]) == (3, 0.1)
    assert "split_seed" not in arguments, "one division of the rows for all cells"


def test_equal_compute_shortens_the_dear_methods_and_what_they_count_in_epochs() -> None:
    Path("act.yaml").write_text(
        yaml.safe_dump({"model": {"class_path": "ACT", "init_args": {"network": NETWORK, "warmup_epochs": 10}}})
        + BASE.replace("max_epochs: 4", "max_epochs: 40")
    )
    methods = {"CE": "CrossEntropy", "ACT": {"recipe": "act.yaml"}, "own": {"class_path": "ELR", "cost": 4.0}}
    found = plan(methods=methods, noise=..., seeds=1, budget={"compute": 44})
    assert recipe(found, "CE.yaml")["trainer"]["max_epochs"] == 44
    assert recipe(found, "own.yaml")["trainer"]["max_epochs"] == 11
    act = recipe(found, "ACT.yaml")  # a quarter of its epochs cost 2, the others 3: 2.75 on average
    assert act["trainer"]["max_epochs"] == 16
    assert act["model"]["init_args"]["warmup_epochs"] == 4
    assert "ACT: warmup_epochs 10 of 40 epochs -> 4 of 16" in found.notes


def test_two_rows_of_one_recipe_are_two_methods() -> None:
    rows = {"weak": {"set": {"model.regularization": 1}}, "strong": {"set": {"model.regularization": 7}}}
    model = {"class_path": "ELR", "init_args": {"network": NETWORK}}
    Path("elr.yaml").write_text(yaml.safe_dump({"model": model, "rows": rows}) + BASE)
    found = plan(methods={name: {"recipe": "elr.yaml", "row": name} for name in rows}, noise=..., seeds=1)
    arguments = [recipe(found, f"{name}.yaml")["model"]["init_args"]["regularization"] for name in rows]
    assert arguments == [1, 7]


def test_the_network_of_a_base_with_a_method_is_that_of_all_and_said() -> None:
    model = {"class_path": "CoTeaching", "init_args": {"network": NETWORK, "forget_rate": 0.2}}
    Path("base.yaml").write_text(yaml.safe_dump({"model": model}) + BASE)
    found = plan(network=...)
    assert recipe(found, "ELR-sym.yaml")["model"]["init_args"]["network"]["init_args"]["hidden"] == [8]
    assert "forget_rate" not in recipe(found, "CE-sym.yaml")["model"]["init_args"]
    assert found.notes == ("network of every method: that of base.yaml",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": {}}, "nearest: methods"),
        ({"methods": {}}, "s.yaml: methods: expected methods by name"),
        ({"methods": {"a/b": "ELR"}}, "becomes part of a folder's name"),
        ({"methods": {"CE": {"recipe": "x.yaml", "class_path": "ELR"}}}, "give either class_path, a method, or recipe"),
        ({"methods": {"CE": {"class_path": "ELR", "regularization": 3}}}, "arguments of the method go below init_args"),
        ({"methods": ["CrossEntropi"]}, "nearest: CrossEntropy"),
        ({"methods": {"CE": {"class_path": "ELR", "init_args": {"regularisaton": 3}}}}, "nearest: regulari"),
        ({"methods": {"CE": {"recipe": "elr_digit.yaml"}}}, "nearest: elr_digits.yaml"),
        ({"baseline": "GCE"}, "s.yaml: baseline: 'GCE' is not known"),
        ({"seeds": [0, "1"]}, "s.yaml: seeds: expected whole numbers"),
        ({"seeds": 0}, "s.yaml: seeds: expected whole numbers"),
        ({"folds": 1}, "s.yaml: folds: expected a whole number, 2 or more"),
        ({"budget": {"epoch": 3}}, "nearest: epochs"),
        ({"budget": {"epochs": 3, "compute": 3}}, "s.yaml: budget: expected one of"),
        ({"budget": {"compute": 0.4}}, "budget.compute 0.4 is less than one epoch"),
        ({"held_out": 1}, "s.yaml: held_out: expected a share"),
        ({"noise": {"sym": {"rate": 0.4}}}, "s.yaml: noise.sym: expected a class of noise"),
        ({"set": {"seed_everything": 3}}, "seeds go below seeds"),
        ({"set": {"data.bach_size": 3}}, "nearest: batch_size"),
        ({"base": ..., "data": ...}, "s.yaml: no data"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(**changes)
    assert told in str(caught.value) and len(str(caught.value).splitlines()) <= 6


def test_two_recipes_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"would be named a-b\.yaml"):
        plan(
            methods={"a": {"class_path": "CrossEntropy", "settings": {"b": {}}}, "a-b": "CrossEntropy"},
            noise=...,
        )


def test_the_command_shows_a_study_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(SPEC))
    assert main(["study", "s.yaml", "--dry_run", "--jobs", "2", "--run_dir", "S"]) == 0
    said = capsys.readouterr().out
    assert "ELR, given (ELR on Arrays, 4 epochs)" in said
    assert "8, 2 at once: each of these under the seeds 1, 3" in said
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "base.yaml", "s.yaml"}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["none.yaml"], "there is no file none.yaml"),
        (["base.yaml", "more.yaml"], "takes one study file"),
        (["s.yaml", "--jobs", "0"], "--jobs: expected how many runs"),
        (["s.yaml", "--rows", "a"], "--rows belongs to a study of a recipe's rows"),
        (["s.yaml", "--config", "base.yaml"], "--config belongs to a study of a recipe's rows"),
        (["s.yaml", "--seed_everything", "1"], "--seed_everything belongs to one run"),
        (["s.yaml", "--data.bach_size", "1"], "nearest: batch_size"),
        (["s.yaml", "--resume"], "--resume needs --run_dir"),
    ],
)
def test_mistakes_of_the_command_are_said_before_anything_is_written(
    argv: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(SPEC))
    assert main(["study", *argv]) == 2
    text = capsys.readouterr().err
    assert told in text and "Traceback" not in text
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "base.yaml", "s.yaml"}
