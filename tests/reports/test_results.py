from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from noisylab.reports import Spread, aggregate, group_by_seed, read_run, result_row, results_table

MakeRun = Callable[..., Path]


def _with(last: float, **more: float | None) -> dict[str, dict[str, float | None]]:
    return {"headline": {"last": last, "best_by_val": None, "last10_mean": last, **more}}


def test_mean_and_population_std_over_seeds(make_run: MakeRun) -> None:
    # mean 0.6, deviations -0.2, 0, 0.2: population variance 0.08 / 3
    numbers = {2: 0.6, 0: 0.4, 1: 0.8}
    runs = [
        read_run(make_run(str(seed), seed=seed, headline=value, test=_with(value), wall_time_s=60.0 * (seed + 1)))
        for seed, value in numbers.items()
    ]
    results = aggregate(runs)
    assert results.seeds == (0, 1, 2)
    assert results.headline == Spread(pytest.approx(0.6), pytest.approx((0.08 / 3) ** 0.5))
    assert results.last == Spread(pytest.approx(0.6), pytest.approx((0.08 / 3) ** 0.5))
    assert results.best_by_val is None
    assert results.wall_time_s == 120.0
    assert (results.devices, results.versions) == (("cpu",), ("torch 2.6.0",))


def test_a_number_that_one_seed_lacks_is_not_averaged(make_run: MakeRun) -> None:
    runs = [
        read_run(make_run("0", seed=0, test=_with(0.5, best_by_val=0.5))),
        read_run(make_run("1", seed=1, test=_with(0.5))),
    ]
    assert aggregate(runs).best_by_val is None


def test_one_seed_has_no_spread_in_the_table(make_run: MakeRun) -> None:
    row = result_row(aggregate([read_run(make_run())]))
    assert row["headline"] == "62.50"
    assert row["best by val"] == "71.88"
    assert (row["seeds"], row["time a run"], row["device"]) == ("0", "2 min", "cpu")


def test_the_table_is_markdown_with_protocol_recipe_and_versions(make_run: MakeRun) -> None:
    runs = [read_run(make_run(str(seed), seed=seed, headline=0.5 + 0.25 * seed)) for seed in (0, 1)]
    lines = results_table([aggregate(runs)]).splitlines()
    assert lines[0].startswith("| method | data | noise | seeds | headline | last |")
    assert lines[2].startswith("| ELR | digits | symmetric 40 % | 0, 1 | 62.50 ± 12.50 | 62.50 ± 0.00 |")
    assert "mean ± population standard deviation over the seeds" in lines[4]
    assert "protocol mean of the last ten epochs; recipe `elr_digits`; torch 2.6.0" in lines[5]


def test_seeds_paths_and_workers_may_differ(make_run: MakeRun) -> None:
    runs = [
        read_run(
            make_run(
                str(seed),
                seed=seed,
                noise={"kind": "symmetric", "rate": 0.4, "seed": seed, "measured_rate": 0.4 + 0.001 * seed},
                config={
                    "data": {"init_args": {"root": f"/{seed}", "num_workers": seed, "noise": {"seed": seed}}},
                    "run_dir": f"runs/{seed}",
                },
            )
        )
        for seed in (0, 1)
    ]
    assert aggregate(runs).seeds == (0, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "ACT"}, "method is ELR in one and ACT in the other"),
        ({"noise": {"kind": "pairflip", "rate": 0.4}}, "noise is symmetric 40 % in one and pairflip 40 %"),
        ({"protocol": "last"}, "protocol is mean of the last ten epochs in one and last"),
        ({"epochs": 5}, "epochs is 3.0 in one and 5.0"),
        (
            {"config": {"model": {"class_path": "ELR", "init_args": {"beta": 0.9}}}},
            "config model.init_args.beta is 0.7 in one and 0.9",
        ),
        ({"config": {"trainer": {"max_epochs": 3, "precision": "16-mixed"}}}, "trainer.precision is None in one and 16"),
    ],
)
def test_runs_that_differ_in_more_than_seeds_are_refused(make_run: MakeRun, change: dict[str, object], named: str) -> None:
    runs = [read_run(make_run("0", seed=0)), read_run(make_run("1", **{"seed": 1, **change}))]
    with pytest.raises(ValueError, match="differ in more than seeds") as caught:
        aggregate(runs)
    assert named in str(caught.value)
    assert str(runs[0].path) in str(caught.value)


def test_a_seed_given_twice_is_refused(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name)) for name in "ab"]
    with pytest.raises(ValueError, match=r"seed 0 is given twice, by .*a.* and .*b.*; leave one out"):
        aggregate(runs)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"complete": False}, "stopped before its last epoch; resume it or leave it out"),
        ({"headline": None}, "has no 'headline'"),
        ({"seed": None}, "has no 'seed'"),
    ],
)
def test_a_run_that_cannot_count_is_refused(make_run: MakeRun, change: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        aggregate([read_run(make_run(**change))])


def test_nothing_to_aggregate_is_an_error() -> None:
    with pytest.raises(ValueError, match="runs is empty"):
        aggregate([])
    with pytest.raises(ValueError, match="results is empty"):
        results_table([])


def test_runs_are_grouped_by_what_is_not_a_seed(make_run: MakeRun) -> None:
    first, other, second = (
        read_run(make_run("0", seed=0)),
        read_run(make_run("1", seed=0, method="ACT")),
        read_run(make_run("2", seed=1)),
    )
    assert group_by_seed([first, other, second]) == [[first, second], [other]]
