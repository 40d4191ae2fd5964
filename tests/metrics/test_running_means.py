from __future__ import annotations

import math

import pytest
import torch

from noisylab.metrics import RunningMeans


def test_means_are_weighted_by_the_number_of_samples() -> None:
    means = RunningMeans()
    for value, weight in ((1.0, 3), (2.0, 1), (4.0, 4)):
        means.add("loss", torch.tensor(value), weight)
    means.add("other", 5.0)
    assert means.compute() == {"loss": pytest.approx((3 + 2 + 16) / 8), "other": 5.0}


def test_splitting_the_samples_into_any_batches_changes_nothing() -> None:
    values = torch.rand(100)
    results = []
    for size in (1, 7, 100):
        means = RunningMeans()
        for batch in values.split(size):
            means.add("loss", batch.mean(), len(batch))
        results.append(means.compute()["loss"])
    assert results == pytest.approx([float(values.mean())] * 3, abs=1e-6)


def test_small_numbers_are_not_lost_in_a_large_sum() -> None:
    means = RunningMeans()
    means.add("loss", torch.tensor(1.0), 2**26)
    for _ in range(4):
        means.add("loss", torch.tensor(1.5), 1)
    assert means.compute()["loss"] > 1.0


def test_no_weight_is_nan_and_nothing_is_nothing() -> None:
    means = RunningMeans()
    assert means.compute() == {}
    means.add("loss", torch.tensor(3.0), 0)
    assert math.isnan(means.compute()["loss"])
    means.reset()
    assert means.compute() == {}


def test_more_names_than_the_first_table_holds() -> None:
    means = RunningMeans()
    for name in range(40):
        means.add(str(name), float(name))
    assert means.compute() == {str(name): float(name) for name in range(40)}


def test_state_goes_on_where_it_was() -> None:
    straight, first = RunningMeans(), RunningMeans()
    for value in (0.1, 0.2, 0.3):
        straight.add("loss", torch.tensor(value), 3)
    first.add("loss", torch.tensor(0.1), 3)
    resumed = RunningMeans()
    resumed.load(first.state())
    first.add("loss", torch.tensor(99.0), 3)
    for value in (0.2, 0.3):
        resumed.add("loss", torch.tensor(value), 3)
    assert resumed.compute() == straight.compute()


def test_ranks_add_up_and_a_resume_counts_no_part_twice() -> None:
    ranks = [RunningMeans(), RunningMeans()]
    ranks[0].add("loss", 1.0, 3)
    ranks[1].add("loss", 5.0, 1)
    total = sum(rank._sums for rank in ranks)  # type: ignore[misc]
    assert ranks[0].compute(lambda sums: total) == {"loss": 2.0}
    state = ranks[0].state(lambda sums: total)
    resumed = [RunningMeans(), RunningMeans()]
    for place, rank in enumerate(resumed):
        rank.load(state, mine=place == 0)
        rank.add("loss", 2.0, 2)
    total = sum(rank._sums for rank in resumed)  # type: ignore[misc]
    assert resumed[1].compute(lambda sums: total) == {"loss": 2.0}


def test_gradients_are_not_kept() -> None:
    means = RunningMeans()
    means.add("loss", torch.tensor(1.0, requires_grad=True))
    assert means._sums is not None and not means._sums.requires_grad
