"""Settings of the methods of a comparison."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import noisylab.losses
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.registry import known_classes
from noisylab.cli.errors import UserError
from noisylab.cli.running.app import build
from noisylab.cli.studies.costs import COSTS
from noisylab.cli.studies.methodset import DEFAULT_METHODS, METHOD_NAMES, Setup, compute_needed, method_names, method_set
from noisylab.losses import Criterion

_KINDS: tuple[Any, ...] = ("features", "images")
SETUP = Setup("features", {"class_path": "MLP", "init_args": {"in_features": 4}}, 3, 640, 64)


def flags_of(plan: Any) -> list[tuple[str, str | None]]:
    import yaml

    return [
        ("model", yaml.safe_dump(plan.model)),
        ("data", "Arrays"),
        ("data.path", "none.npz"),
        ("data.val_fraction", "0.1"),
        ("data.batch_size", str(plan.batch_size)),
        ("trainer.max_epochs", str(plan.epochs)),
    ]


@pytest.mark.parametrize("name", METHOD_NAMES)
@pytest.mark.parametrize(("kind", "budget"), [("features", 40), ("images", 150)])
def test_every_setting_is_one_that_its_method_takes(name: str, kind: Any, budget: int) -> None:
    plan = method_set([name], replace(SETUP, kind=kind), budget, compute=True)[name]
    config = compose([], flags_of(plan)).config  # raises for a name or value that is not known
    assert config["model"]["class_path"].endswith(plan.model["class_path"])
    assert config["trainer"]["max_epochs"] == plan.epochs


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_no_setting_depends_on_the_noise(name: str) -> None:
    text = str(method_set([name], SETUP, 60, compute=True)[name].model)
    assert "oracle" not in text
    assert "'forget_rate'" not in text or "'forget_rate': 'auto'" in text


@pytest.mark.parametrize("name", METHOD_NAMES)
@pytest.mark.parametrize("budget", [12, 30, 60, 200])
def test_parts_of_a_run_fit_into_it(name: str, budget: int) -> None:
    if compute_needed(name) > budget:
        return
    plan = method_set([name], SETUP, budget, compute=True)[name]
    given = plan.model["init_args"]
    parts = ("warmup_epochs", "relabel_epochs", "ramp_epochs", "pretrain_epochs", "window")
    assert all(given.get(part, 0) < plan.epochs for part in parts)
    assert given.get("estimate_epochs", 0) + given.get("reweight_epochs", 0) < plan.epochs
    assert given.get("warmup_epochs", 0) + given.get("rampup_epochs", 0) <= plan.epochs


def test_optimizer_network_and_decay_are_shared() -> None:
    plans = method_set([name for name in DEFAULT_METHODS if name != "ACT"], SETUP, 60, compute=False)
    for key in ("optimizer", "scheduler", "network"):
        first, *others = (plan.model["init_args"][key] for plan in plans.values())
        assert all(other == first for other in others)
    act = method_set(["ACT"], SETUP, 60, compute=False)["ACT"].model["init_args"]
    assert act["optimizer"] == first_of(plans)["optimizer"]
    assert act["lr_plan"] == "cosine:15,2.5e-05,60"


def first_of(plans: Any) -> Any:
    return next(iter(plans.values())).model["init_args"]


def test_dividemix_trusts_its_guesses_about_features_less_and_begins_sooner() -> None:
    features, images = (method_set(["DivideMix"], replace(SETUP, kind=k), 60, compute=True)["DivideMix"] for k in _KINDS)
    assert [plan.model["init_args"]["lambda_u"] for plan in (features, images)] == [0, 25]
    assert [(plan.epochs, plan.warmup) for plan in (features, images)] == [(11, 3), (13, 5)]


def test_equal_epochs_are_equal() -> None:
    assert {plan.epochs for plan in method_set(METHOD_NAMES, SETUP, 50, compute=False).values()} == {50}


def test_many_classes_have_the_settings_of_the_papers_for_them() -> None:
    few, many = (method_set(["ELR"], replace(SETUP, num_classes=k), 60, compute=True)["ELR"] for k in (10, 100))
    assert (few.model["init_args"]["target_momentum"], few.model["init_args"]["regularization"]) == (0.7, 3.0)
    assert (many.model["init_args"]["target_momentum"], many.model["init_args"]["regularization"]) == (0.9, 7.0)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_smallest_budget_that_is_named_is_enough_and_a_smaller_one_is_refused(name: str) -> None:
    import math

    needed = math.ceil(compute_needed(name))
    method_set([name], SETUP, needed, compute=True)
    with pytest.raises(UserError, match=rf"--compute \d+ is too little for {name} .*\n  write --compute {needed}"):
        method_set([name], SETUP, max(needed // 2, 1), compute=True)


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(UserError, match=r"--epochs 3 is too few for CoTeaching \(at least 6\), DivideMix \(at least \d+\)"):
        method_set(["CE", "CoTeaching", "DivideMix"], SETUP, 3, compute=False)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CE", ("CE",)),
        ("ce, Co-teaching,Dividemix", ("CE", "CoTeaching", "DivideMix")),
        ("CrossEntropy,ELR+,co_teaching+", ("CE", "ELRPlus", "CoTeachingPlus")),
    ],
)
def test_names_are_known_however_they_are_written(text: str, names: tuple[str, ...]) -> None:
    assert method_names(text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CE,DivdeMix", "'DivdeMix' is not known\n  nearest: DivideMix"),
        ("CE,ce", "CE is named twice"),
        ("L2R", "L2R cannot be in the comparison: it needs some rows whose labels are known"),
        ("FixMatch", "FixMatch cannot be in the comparison: it learns from unlabeled rows"),
        ("SimCLR", "SimCLR cannot be in the comparison: it trains an encoder without labels"),
        ("PeerLoss", "PeerLoss cannot be in the comparison: its weights are a schedule"),
        ("CE,,ELR", "'' is not known"),
    ],
)
def test_a_wrong_name_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        method_names(text)
    assert said in str(error.value)


def test_every_packaged_loss_is_among_the_names_or_refused_with_a_reason() -> None:
    for name in known_classes(Criterion):
        if name in ("PeerLoss", "CORES2") or not hasattr(noisylab.losses, name):  # or one that another test has made
            continue
        assert method_names(name) == (name,)


def test_methods_of_several_stages_take_their_last_network_where_no_rows_are_held_out() -> None:
    for name in ("Forward", "Backward", "TRevision", "DMI"):
        plan = method_set([name], replace(SETUP, validation=False), 60, compute=True)[name]
        assert plan.model["init_args"]["hand_over"] == "last"


@pytest.mark.parametrize("name", ["CE", "ACT", "DivideMix", "TRevision", "JointOptimization"])
def test_a_method_is_built_as_planned(name: str, tmp_path: Any) -> None:
    import numpy as np

    y = np.arange(90) % 3
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32), y=y)
    plan = method_set([name], SETUP, 60, compute=True)[name]
    flags = [*flags_of(plan), ("data.path", str(tmp_path / "a.npz"))]
    app = build("fit", compose([], flags).config, folder=None)
    assert type(app.model).__name__ == plan.model["class_path"]


def test_the_plan_is_made_without_torch() -> None:
    code = "import sys, noisylab.cli.studies.methodset; print('torch' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_costs_and_epochs_are_those_of_the_documentation() -> None:
    import math

    page = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text()
    shown = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6:
            shown |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1:])
    assert set(METHOD_NAMES) <= set(shown)
    for name, plan in method_set(METHOD_NAMES, replace(SETUP, kind="images"), 60, compute=True).items():
        cost = COSTS[plan.priced]
        warm = "" if cost.warmup is None else f"{cost.warmup:.1f}"
        expected = [f"{cost.main:.1f}", warm, str(plan.epochs), str(plan.warmup or ""), str(math.ceil(compute_needed(name)))]
        assert shown[name] == expected, name
