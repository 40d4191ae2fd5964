"""Successive halving over methods: where they are compared, and who goes on."""

from __future__ import annotations

import math

import pytest

from noisylab.cli.studies.halving import Candidate, ladder, starts_after, survivors
from noisylab.cli.studies.methodset import DEFAULT_METHODS, METHOD_NAMES, Setup, method_set

NETWORK = {"class_path": "MLP", "init_args": {"in_features": 8}}


def plain(count: int, epochs: int = 40) -> list[Candidate]:
    return [Candidate(f"m{number}", epochs, 0, 1.0) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "eta", "places"),
    [
        (1, 2, [(1.0, 1)]),
        (2, 2, [(1.0, 1)]),
        (3, 2, [(0.5, 2), (1.0, 1)]),
        (6, 2, [(0.25, 3), (0.5, 2), (1.0, 1)]),
        (6, 3, [(1 / 3, 2), (1.0, 1)]),
        (9, 3, [(1 / 9, 3), (1 / 3, 2), (1.0, 1)]),
    ],
)
def test_the_better_part_goes_on_until_two_run_to_their_end(count: int, eta: int, places: list[tuple[float, int]]) -> None:
    rungs = ladder(plain(count), eta)
    assert [rung.keep for rung in rungs] == [keep for _, keep in places]
    assert [rung.share for rung in rungs] == pytest.approx([share for share, _ in places])


def test_no_method_is_judged_before_a_tenth_of_its_run_after_its_warmup() -> None:
    candidates = [*plain(5, 60), Candidate("warm", 20, 8, 5.0)]
    rungs = ladder(candidates)
    assert rungs[0].share == pytest.approx(0.5)  # 8 of 20 epochs, and 2 more
    assert rungs[0].epochs == {**{f"m{number}": 30 for number in range(5)}, "warm": 10}
    assert [rung.share for rung in rungs] == pytest.approx([0.5, math.sqrt(0.5), 1.0]), "equal ratios"
    assert rungs[-1].epochs["warm"] == 20


def test_a_warmup_of_nearly_the_whole_run_leaves_one_comparison_at_the_end() -> None:
    rungs = ladder([*plain(5), Candidate("late", 20, 17, 1.0)])
    assert [(rung.share, rung.keep) for rung in rungs] == [(1.0, 1)]


@pytest.mark.parametrize("budget", [31, 60, 200])
def test_the_default_methods_are_first_compared_after_every_warmup(budget: int) -> None:
    setup = Setup("features", NETWORK, 10, 900, 64)
    plans = method_set(DEFAULT_METHODS, setup, budget, compute=True)
    candidates = [Candidate(name, plan.epochs, starts_after(plan.model), 1.0) for name, plan in plans.items()]
    first = ladder(candidates)[0]
    for name, plan in plans.items():
        warmup = plan.model["init_args"].get("warmup_epochs", 0)
        assert first.epochs[name] > warmup, name
    assert {"ACT", "DivideMix"} <= {each.name for each in candidates if each.warmup}


def test_every_method_that_is_cross_entropy_at_first_is_known_to_be() -> None:
    setup = Setup("features", NETWORK, 10, 900, 64)
    plans = method_set(METHOD_NAMES, setup, 100, compute=False)
    late = {name for name, plan in plans.items() if starts_after(plan.model) > 0}
    expected = {"CoTeaching", "ACT", "DivideMix", "JoCoR", "CoTeachingPlus", "JointOptimization", "Forward", "Backward"}
    assert late == expected | {"TRevision", "DMI", "TruncatedGCE", "GLS", "FDivergence"}
    # the two stages before the matrix is revised
    assert starts_after(plans["TRevision"].model) == 30 + 45


def test_survivors_are_the_most_accurate_and_of_equals_the_cheaper() -> None:
    three = [Candidate("dear", 9, 0, 6.0), Candidate("cheap", 9, 0, 1.0), Candidate("best", 9, 0, 3.0)]
    assert survivors({"dear": 0.5, "cheap": 0.5, "best": 0.6}, 2, three) == ["best", "cheap"]
    assert survivors({"dear": 0.5, "cheap": math.nan, "best": 0.4}, 2, three) == ["dear", "best"]
    assert survivors({"cheap": 0.1}, 2, three) == ["cheap"], "a method without an accuracy has failed"


def test_what_is_no_race_is_refused() -> None:
    with pytest.raises(ValueError, match="an eta of 2 or more, got 2 and 1"):
        ladder(plain(2), 1)
    with pytest.raises(ValueError, match="needs candidates"):
        ladder([])
