"""Paired differences against brute force, scipy and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from noisylab.reports.paired import bootstrap_interval, paired_difference, points, seeds_needed, sign_flip_p

SIX = [0.012, 0.008, 0.020, -0.004, 0.015, 0.001]


def keyed(values: list[float], fold: str | None = None) -> dict[tuple[str, ...], float]:
    return {(str(seed),) if fold is None else (str(seed), fold): value for seed, value in enumerate(values)}


def test_mean_deviation_error_and_wins_by_hand() -> None:
    # differences 2, 0, -1, 3 points: mean 1, squared deviations 1 + 1 + 4 + 4 = 10
    found = paired_difference(keyed([0.92, 0.90, 0.89, 0.93]), keyed([0.90] * 4))
    assert found is not None
    assert found.differences == pytest.approx([0.02, 0, -0.01, 0.03])
    assert found.mean == pytest.approx(0.01)
    assert found.std == pytest.approx(math.sqrt(10 / 4) / 100)
    assert found.standard_error == pytest.approx(math.sqrt(10 / 3 / 4) / 100)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.interval is None and found.too_few


def test_folds_are_averaged_within_their_seed() -> None:
    ours = {("0", "a"): 0.9, ("0", "b"): 0.8, ("1", "a"): 0.7, ("1", "b"): 0.7, ("2", "a"): 1.0}
    theirs = {("0", "a"): 0.8, ("0", "b"): 0.6, ("1", "a"): 0.8, ("1", "b"): 0.7}
    found = paired_difference(ours, theirs)
    assert found is not None
    assert found.seeds == ("0", "1")
    assert found.differences == pytest.approx([0.15, -0.05])


def test_one_number_computed_in_two_ways_is_a_tie() -> None:
    found = paired_difference({("0",): 0.1 + 0.2}, {("0",): 0.3})
    assert found is not None and (found.wins, found.ties, found.losses) == (0, 1, 0)


def test_nothing_in_common_has_no_difference() -> None:
    assert paired_difference({("0",): 0.5}, {("1",): 0.5}) is None


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the values of 0 are nan and 0\.5"):
        paired_difference({("0",): math.nan}, {("0",): 0.5})
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        paired_difference({}, {}, level=95)
    with pytest.raises(ValueError, match="at least two values, got 1"):
        bootstrap_interval([0.5])


def test_the_words_for_few_and_for_enough_seeds() -> None:
    few = paired_difference(keyed([0.912, 0.908, 0.92]), keyed([0.9] * 3))
    assert str(few) == "3 seeds: too few for an interval; the differences were +1.2 +0.8 +2.0"
    one = paired_difference(keyed([0.912]), keyed([0.9]))
    assert str(one) == "1 seed: too few for an interval; the difference was +1.2"
    enough = paired_difference(keyed([0.9 + value for value in SIX]), keyed([0.9] * 6))
    assert enough is not None and enough.interval is not None
    low, high = enough.interval
    assert str(enough) == f"6 seeds: +0.87, 95 % interval {points(low)} to {points(high)}, better on 5 of 6"


@pytest.mark.parametrize("count", [2, 4, 6])
def test_the_interval_is_that_of_all_resamples(count: int) -> None:
    values = np.array(SIX[:count])
    means = np.sort([np.mean(chosen) for chosen in itertools.product(values, repeat=count)])
    tail = stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1))
    cut = int(tail * len(means))  # so many means lie outside on either side
    assert bootstrap_interval(values) == pytest.approx((means[cut], means[-1 - cut]))


@pytest.mark.parametrize("count", [12, 30])
def test_the_interval_agrees_with_scipy(count: int) -> None:
    values = np.random.default_rng(3).gamma(2.0, size=count)
    tail = float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1)))
    known = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=40_000, confidence_level=1 - 2 * tail, rng=np.random.default_rng(1)
    ).confidence_interval
    assert bootstrap_interval(values) == pytest.approx(tuple(known), abs=0.03 * (known.high - known.low))


def test_the_interval_has_no_chance_in_it_and_turns_with_its_values() -> None:
    values = np.random.default_rng(0).normal(size=10)
    low, high = bootstrap_interval(values)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(-values[:6]) == pytest.approx([-x for x in reversed(bootstrap_interval(values[:6]))])
    assert values.min() <= low < values.mean() < high <= values.max()


@pytest.mark.parametrize("values", [SIX, SIX[:3], [0.01] * 5, [0.01, -0.01, 0.0]])
def test_the_p_value_is_that_of_all_signs(values: list[float]) -> None:
    known = stats.permutation_test(
        (np.array(values), np.zeros(len(values))), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples"
    )
    assert sign_flip_p(values) == pytest.approx(known.pvalue)


def test_the_p_value_of_many_agrees_with_a_t_test() -> None:
    values = np.random.default_rng(5).normal(0.35, 1.0, size=40)
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


@pytest.mark.parametrize(("level", "needed"), [(0.95, 6), (0.9, 5), (0.99, 8), (0.5, 2)])
def test_the_seeds_needed_are_those_of_the_widest_interval(level: float, needed: int) -> None:
    assert seeds_needed(level) == needed
    # the smallest and the largest of n normal values hold their center between them as often as the count says
    drawn = np.random.default_rng(0).normal(size=(100_000, needed))
    held = ((drawn.min(axis=1) <= 0) & (drawn.max(axis=1) >= 0)).mean()
    assert held == pytest.approx(1 - 0.5 ** (needed - 1), abs=0.005)
    assert held >= level - 0.005


# within four standard deviations of what was measured with 4,000 samples; see the table in the module
@pytest.mark.parametrize(("count", "lowest", "highest"), [(3, 0.66, 0.85), (5, 0.86, 0.97), (10, 0.89, 0.99), (20, 0.895, 0.99)])
def test_the_interval_covers_the_mean_as_often_as_documented(count: int, lowest: float, highest: float) -> None:
    drawn = np.random.default_rng(7).normal(size=(300, count))
    covered = [low <= 0 <= high for low, high in map(bootstrap_interval, drawn)]
    assert lowest <= np.mean(covered) <= highest
