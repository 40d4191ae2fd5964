"""What runs that are compared say about each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.reports import read_run
from noisylab.reports.differences import difference_lines

MakeRun = Callable[..., Path]


def accuracy(last: float) -> dict[str, Any]:
    return {"headline": {"last": last, "best_by_val": None, "last10_mean": last}}


def runs(make_run: MakeRun, **accuracies: list[float]) -> list[Any]:
    return [
        read_run(make_run(f"{method}{seed}", method=method, seed=seed, test=accuracy(value)))
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def test_experiments_are_paired_by_seed_with_the_first(make_run: MakeRun) -> None:
    found = difference_lines(runs(make_run, CE=[0.5, 0.6, 0.7], ELR=[0.51, 0.62, 0.7], ACT=[0.6, 0.5, 0.7]))
    assert found == [
        "Test accuracy in the last epoch, paired by seed, in points:",
        "ELR against CE: 3 seeds: too few for an interval; the differences were +1.0 +2.0 +0.0",
        "ACT against CE: 3 seeds: too few for an interval; the differences were +10.0 -10.0 +0.0",
    ]


def test_runs_with_other_labels_other_data_or_no_seed_in_common_are_not_paired(make_run: MakeRun) -> None:
    first = runs(make_run, CE=[0.5, 0.6])
    noise = {"kind": "symmetric", "rate": 0.4, "digest": "other"}
    other = [read_run(make_run(f"n{seed}", method="ELR", seed=seed, noise=noise)) for seed in (0, 1)]
    data = [read_run(make_run(f"d{seed}", method="DMI", seed=seed, data={"name": "mnist"})) for seed in (0, 1)]
    seeds = [read_run(make_run(f"s{seed}", method="ACT", seed=seed)) for seed in (2, 3)]
    assert difference_lines([*first, *other, *data, *seeds]) == []
    assert difference_lines(first) == difference_lines([]) == []


def test_two_runs_are_compared_on_their_held_out_rows(make_run: MakeRun) -> None:
    first, second = runs(make_run, CE=[0.5], ELR=[0.6])
    assert difference_lines([first, second]) == []
    given = np.arange(40) % 4
    np.savez(first.path / "validation.npz", index=np.arange(40), given=given, pred=np.where(np.arange(40) < 20, given, 5))
    np.savez(second.path / "validation.npz", index=np.arange(40), given=given, pred=np.where(np.arange(40) < 30, given, 5))
    head, line = difference_lines([first, second])
    assert head == "ELR against CE on the same held-out rows, accuracy by their given labels in points:"
    assert line.startswith("40 rows: +25.00, 95 % interval +1") and line.endswith("on 10 and 0, exact McNemar p = 0.002")
    np.savez(second.path / "validation.npz", index=np.arange(1, 41), given=given, pred=given)
    assert difference_lines([first, second]) == []
