from __future__ import annotations

import math
import random
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from helpers.read_backs import ReadBacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from noisylab.selection import Mixture, fit_mixture, mixture, normalize

TWO_GROUPS = [0, 0.02, 0.04, 0.06, 0.08, 0.10, 0.90, 0.92, 0.94, 0.96, 0.98, 1]
ONE_BETWEEN = [0, 0.02, 0.05, 0.04, 0.03, 0.01, 0.06, 0.9, 0.95, 1, 0.85, 0.5]


def losses(kind: str, size: int, seed: int) -> Tensor:
    """Made-up losses of 60 % clean samples, from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    clean, wrong = torch.randn(size, generator=generator, dtype=torch.float64).split([size * 6 // 10, size - size * 6 // 10])
    return normalize(
        {
            "separated": torch.cat([0.1 + 0.03 * clean, 0.9 + 0.05 * wrong]),
            "overlapping": torch.cat([0.3 + 0.12 * clean, 0.6 + 0.15 * wrong]),
            "one mode": torch.cat([clean, wrong]),
            "like cross-entropy": torch.cat([0.3 * clean.abs(), (2.3 + 0.8 * wrong).abs()]),
        }[kind]
    )


def density(x: float, mean: float, variance: float) -> float:
    return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def best_split(values: list[float]) -> tuple[list[float], list[float]]:
    """Two-means by trying every split of the sorted values."""
    ordered = sorted(values)
    return min(((ordered[:i], ordered[i:]) for i in range(1, len(ordered))), key=inertia)


def inertia(groups: tuple[list[float], list[float]]) -> float:
    return math.fsum(math.fsum((x - math.fsum(group) / len(group)) ** 2 for x in group) for group in groups)


def slow_fit(
    values: list[float], low: set[float], max_iter: int = 10, tol: float = 1e-2, reg_covar: float = 5e-4
) -> tuple[list[float], list[float], list[float], bool, int]:
    """EM from the textbook, a value at a time, from hard responsibilities: `low` belongs to the first component."""
    shares = [[float(x in low), float(x not in low)] for x in values]
    before, converged, iteration = -math.inf, False, 0

    def maximize() -> tuple[list[float], list[float], list[float]]:
        counts = [math.fsum(r[k] for r in shares) for k in (0, 1)]
        means = [math.fsum(r[k] * x for r, x in zip(shares, values, strict=True)) / counts[k] for k in (0, 1)]
        squares = [math.fsum(r[k] * (x - means[k]) ** 2 for r, x in zip(shares, values, strict=True)) for k in (0, 1)]
        variances = [square / count + reg_covar for square, count in zip(squares, counts, strict=True)]
        return means, variances, [count / len(values) for count in counts]

    means, variances, weights = maximize()
    while iteration < max_iter and not converged:
        joint = [[w * density(x, m, v) for m, v, w in zip(means, variances, weights, strict=True)] for x in values]
        shares = [[p / sum(pair) for p in pair] for pair in joint]
        bound = math.fsum(math.log(sum(pair)) for pair in joint) / len(values)
        means, variances, weights = maximize()
        converged, before, iteration = abs(bound - before) < tol, bound, iteration + 1
    return means, variances, weights, converged, iteration


@cache
def of_sklearn(kind: str, size: int, seed: int, seeds: int) -> np.ndarray:
    """scikit-learn's probabilities of the low component, a row a seed of its k-means."""
    column = losses(kind, size, seed)[:, None].numpy()
    rows = []
    for own_seed in range(seeds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=own_seed).fit(column)
        rows.append(fit.predict_proba(column)[:, fit.means_.argmin()])
    return np.stack(rows)


def test_two_groups_have_the_hand_computed_mixture() -> None:
    values = torch.tensor(TWO_GROUPS, dtype=torch.float64)
    found = fit_mixture(values)
    assert found.means == pytest.approx((0.05, 0.95), abs=1e-9)
    assert found.variances == pytest.approx((0.00116667 + 5e-4,) * 2, abs=1e-8)
    assert found.weights == pytest.approx((0.5, 0.5), abs=1e-12)
    assert found.converged and found.iterations == 2
    assert found.clean_prob(values).tolist() == pytest.approx([1.0] * 6 + [0.0] * 6, abs=1e-12)


def test_start_is_the_best_split_where_k_means_may_stop_at_a_worse_one() -> None:
    # {0.5, ...} with the high values: within-cluster sum of squares .0028 + .157; with the low ones .1961 + .0125
    found = fit_mixture(torch.tensor(ONE_BETWEEN, dtype=torch.float64), tol=1e9)
    best = best_split(ONE_BETWEEN)
    assert inertia(best) == pytest.approx(0.1598) and 0.5 in best[1]
    assert found.means == pytest.approx((0.03, 0.84), abs=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_from_the_worse_split_em_ends_where_the_reference_may_end(reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # 2-means on {seven low values and 0.5} and {four high values}: the local optimum that 43 of 200 seeds of scikit-learn stop in
    values = torch.tensor(ONE_BETWEEN, dtype=torch.float64)
    low, high = sorted(ONE_BETWEEN)[:8], sorted(ONE_BETWEEN)[8:]
    sums = [[len(group), sum(group), sum(x * x for x in group)] for group in ((high, low) if reverse else (low, high))]
    monkeypatch.setattr(mixture, "_start", lambda x, floor: mixture._maximize(sums, (0.0, 0.0), floor))
    found = fit_mixture(values)
    assert found.means == pytest.approx((0.088752, 0.925000), abs=1e-6)
    assert (found.clean_prob(values) > 0.5).tolist() == [True] * 7 + [False] * 4 + [True]


@pytest.mark.parametrize("seed", range(12))
def test_fit_is_the_textbooks(seed: int) -> None:
    draw = random.Random(seed)
    values = [draw.gauss(0.2, 0.1) if draw.random() < 0.6 else draw.gauss(0.7, 0.2) for _ in range(draw.randint(20, 150))]
    settings = {
        "max_iter": draw.choice([1, 2, 5, 30]),
        "tol": draw.choice([1e-2, 1e-4, 0]),
        "reg_covar": draw.choice([5e-4, 0.1]),
    }
    means, variances, weights, converged, iterations = slow_fit(values, set(best_split(values)[0]), **settings)  # type: ignore[arg-type]
    found = fit_mixture(torch.tensor(values, dtype=torch.float64), **settings)  # type: ignore[arg-type]
    assert (found.converged, found.iterations) == (converged, iterations)
    order = sorted((0, 1), key=lambda k: means[k])
    for mine, theirs in ((found.means, means), (found.variances, variances), (found.weights, weights)):
        assert mine == pytest.approx([theirs[k] for k in order], rel=1e-8)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 2**15 + 3])
def test_log_likelihood_is_that_of_the_mixture(size: int) -> None:
    values = torch.rand(size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    pair = mixture._Pair((0.7, 0.2), (0.03, 0.004), (0.4, 0.6))
    expected = math.fsum(math.log(sum(w * density(x, m, v) for m, v, w in zip(*pair, strict=True))) for x in values.tolist())
    assert mixture._expect(values, pair)[1] == pytest.approx(expected / size, rel=1e-12)


def test_start_is_the_best_of_all_splits() -> None:
    for seed in range(100):
        draw = random.Random(seed)
        power = draw.choice([0.3, 1, 2, 8, -0.4])
        values = [draw.random() ** power for _ in range(draw.randint(2, 60))]
        start = mixture._start(normalize(torch.tensor(values, dtype=torch.float64)), 1e-9)
        low, high = min(values), max(values)
        centers = [low + (high - low) * mean for mean in start.means]
        mine = ([x for x in values if 2 * x < sum(centers)], [x for x in values if 2 * x >= sum(centers)])
        assert [len(group) / len(values) for group in mine] == pytest.approx(start.weights)
        assert inertia(mine) <= inertia(best_split(values)) * (1 + 1e-4) + 1e-12


@pytest.mark.parametrize("size", [12, 513, 5000, 70_000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_separated_losses_have_sklearns_probabilities(size: int, seed: int) -> None:
    values = losses("separated", size, seed)
    theirs = of_sklearn("separated", size, seed, 1)[0]
    np.testing.assert_allclose(fit_mixture(values).clean_prob(values).numpy(), theirs, atol=1e-3)
    assert 0.5 < theirs.mean() < 0.7, "the case has both components"


@pytest.mark.parametrize("kind", ["overlapping", "one mode", "like cross-entropy"])
@pytest.mark.parametrize("size", [300, 5000])
@pytest.mark.parametrize("seed", [0, 1])
def test_overlapping_losses_are_within_sklearns_own_spread(kind: str, size: int, seed: int) -> None:
    values = losses(kind, size, seed)
    theirs = of_sklearn(kind, size, seed, 8)
    spread = max(float(abs(first - second).max()) for first in theirs for second in theirs)
    mine = fit_mixture(values).clean_prob(values).numpy()
    assert abs(theirs - mine).max() <= spread + 1e-6


def test_order_of_the_values_does_not_matter() -> None:
    values = losses("overlapping", 40_000, 0)
    shuffled = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(1))]
    first, second = fit_mixture(values), fit_mixture(shuffled)
    for name in ("means", "variances", "weights"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-12)
    assert first.iterations == second.iterations


def test_fit_is_deterministic_whatever_the_random_state() -> None:
    values = losses("one mode", 3000, 0)
    first = fit_mixture(values)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    state = torch.get_rng_state()
    assert fit_mixture(values) == first
    assert torch.equal(torch.get_rng_state(), state), "nothing was drawn"


@pytest.mark.parametrize(("scale", "shift"), [(40.0, 3.0), (1e6, -7e6), (1e-3, 0.0), (1e60, 0.0), (1e-60, 0.0)])
def test_unit_of_the_values_does_not_matter(scale: float, shift: float) -> None:
    values = losses("overlapping", 2000, 1)
    reference, moved = fit_mixture(values), fit_mixture(values * scale + shift, reg_covar=5e-4 * scale**2)
    assert moved.means == pytest.approx([mean * scale + shift for mean in reference.means], rel=1e-7)
    assert moved.variances == pytest.approx([variance * scale**2 for variance in reference.variances], rel=1e-6)
    assert moved.weights == pytest.approx(reference.weights, rel=1e-6)
    torch.testing.assert_close(moved.clean_prob(values * scale + shift), reference.clean_prob(values), atol=1e-6, rtol=0)


def test_narrow_component_keeps_its_digits_in_a_wide_range() -> None:
    # the variance of each group is 1 and the range 10^9: sums of squares about 0 would leave nothing of it
    values = torch.tensor([0.0, 2.0, 1e9, 1e9 + 2], dtype=torch.float64)
    found = fit_mixture(values, reg_covar=1e-3)
    assert found.variances == pytest.approx((1.001, 1.001), rel=1e-6)
    assert found.clean_prob(values).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_any_type_is_fitted_as_its_float64_values(dtype: torch.dtype) -> None:
    values = (losses("overlapping", 2000, 0) * (1 if dtype.is_floating_point else 9)).to(dtype)
    found = fit_mixture(values)
    assert found == fit_mixture(values.double())
    prob = found.clean_prob(values)
    assert prob.dtype == torch.float64
    assert torch.equal(prob, found.clean_prob(values.double()))
    assert normalize(values).dtype == torch.float64


def test_autocast_changes_nothing() -> None:
    values = losses("overlapping", 1000, 0).float()
    reference = fit_mixture(values)
    with torch.autocast("cpu", torch.bfloat16):
        found = fit_mixture(values)
        prob = found.clean_prob(values)
    assert found == reference and torch.equal(prob, reference.clean_prob(values))


def test_input_is_not_changed_and_gives_no_gradient() -> None:
    values = losses("overlapping", 100, 0).requires_grad_()
    before = values.detach().clone()
    found = fit_mixture(values)
    results = [found.clean_prob(values), normalize(values)]
    for result in results:
        assert not result.requires_grad
        result.zero_()
    assert torch.equal(values, before), "results have memory of their own"


def test_results_for_part_of_the_values_do_not_depend_on_the_rest() -> None:
    values = losses("overlapping", 70_000, 0)
    found = fit_mixture(values)
    torch.testing.assert_close(found.clean_prob(values)[40_000:], found.clean_prob(values[40_000:]), rtol=1e-13, atol=0)
    assert found.clean_prob(values[:0]).shape == (0,)


def test_device_without_float64_is_served_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    values = losses("overlapping", 500, 0)
    found, expected = fit_mixture(values), fit_mixture(values).clean_prob(values)
    monkeypatch.setattr(mixture, "_WITHOUT_FLOAT64", frozenset({"cpu"}))
    assert fit_mixture(values) == found
    prob = found.clean_prob(values)
    assert prob.dtype == torch.float32 and torch.equal(prob, expected.float())


@pytest.mark.parametrize("max_iter", [1, 2, 7])
def test_values_are_read_back_once_an_iteration(max_iter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, reads = losses("one mode", 70_000, 0), []
    own = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: reads.append(len(tensor)) or own(tensor))
    with ReadBacks() as others:
        assert fit_mixture(values, max_iter=max_iter, tol=0).iterations == max_iter
    assert reads.count(7) == max_iter + 1, "the sums of each iteration and of the start"
    assert len(reads) == max_iter + 3, "the range of the values; the start's centers are on the host"
    assert others.found == {"_local_scalar_dense": 1}, "the best bin, on the host"


@pytest.mark.parametrize("values", [[0.3], [0.3] * 50, [0.0] * 7, [-4.0, -4.0]])
def test_values_that_are_all_equal_are_all_clean(values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float64)
    found = fit_mixture(tensor, reg_covar=0.01)
    assert found == Mixture((values[0],) * 2, (0.01, 0.01), (1.0, 0.0), converged=True, iterations=0)
    assert found.clean_prob(tensor).tolist() == [1.0] * len(values)
    assert found.clean_prob(torch.tensor([-9.0, 9.0])).tolist() == [1.0, 1.0]
    assert normalize(tensor).tolist() == [0.0] * len(values)


def test_two_distinct_values_are_a_component_each() -> None:
    values = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    found = fit_mixture(values)
    assert found.means == pytest.approx((0, 1), abs=1e-12) and found.weights == pytest.approx((0.6, 0.4))
    assert found.variances == pytest.approx((5e-4, 5e-4))
    assert found.clean_prob(values).tolist() == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("gap", [1e-9, 5e-324, math.ulp(1.0)])
def test_values_that_hardly_differ_are_finite(gap: float) -> None:
    values = torch.tensor([0.0, 0.0, gap] if gap < 1e-10 else [1.0, 1.0, 1.0 + gap], dtype=torch.float64)
    found = fit_mixture(values)
    prob = found.clean_prob(values)
    # reg_covar makes one Gaussian of both, so that the posterior is the weight
    assert prob.tolist() == pytest.approx([found.weights[0]] * 3)
    assert sorted(set(normalize(values).tolist())) == [0, 1]


@pytest.mark.parametrize("lost", [0, 1])
def test_component_that_loses_all_weight_leaves_the_other(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = losses("one mode", 100, 0)
    means, variances = [0.5, 0.5], [0.05, 0.05]
    means[lost], variances[lost] = 1e6, 1e-3  # so far away that its responsibilities are 0 in float64
    start = mixture._Pair((means[0], means[1]), (variances[0], variances[1]), (0.5, 0.5))
    monkeypatch.setattr(mixture, "_start", lambda x, floor: start)
    found = fit_mixture(values)
    assert found.weights == (1.0, 0.0) and found.converged
    assert found.means == pytest.approx([float(values.mean())] * 2)
    assert found.variances == pytest.approx([float(values.var(correction=0)) + 5e-4] * 2)
    assert bool((found.clean_prob(values) == 1).all())


@pytest.mark.parametrize("wrong", [[math.nan], [math.inf, -math.inf], [math.nan, math.inf, 1.0, math.nan]])
def test_values_that_are_not_finite_are_counted(wrong: list[float]) -> None:
    values, count = torch.tensor([0.0, 1.0, 2.0, *wrong]), sum(not math.isfinite(x) for x in wrong)
    for call in (fit_mixture, normalize, fit_mixture(torch.arange(4)).clean_prob):
        with pytest.raises(ValueError, match=f"but {count} of {len(values)} are NaN or infinite"):
            call(values)


@pytest.mark.parametrize("call", [fit_mixture, normalize])
def test_values_that_cannot_be_fitted_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="is empty"):
        call(torch.empty(0))
    with pytest.raises(ValueError, match=r"one dimension, got the shape \(4, 1\)"):
        call(torch.rand(4, 1))
    with pytest.raises(ValueError, match=r"within 1e\+100"):
        call(torch.tensor([-1e308, 1e308], dtype=torch.float64))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_iter", 0), ("tol", -1e-3), ("tol", math.nan), ("reg_covar", 0.0), ("reg_covar", math.inf), ("reg_covar", math.nan)],
)
def test_setting_out_of_its_range_is_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be"):
        fit_mixture(torch.rand(5), **{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["overlapping", "one mode", "spike", "outlier"])
def test_many_values_stay_finite(kind: str) -> None:
    size = 200_000
    values = losses("one mode" if kind in ("spike", "outlier") else kind, size, 3)
    if kind == "spike":  # most losses are 0 to float precision
        values = torch.cat([torch.zeros(size - 10, dtype=torch.float64), values[:10]])
    if kind == "outlier":
        values = normalize(torch.cat([values, torch.tensor([1e4], dtype=torch.float64)]))
    found = fit_mixture(values, max_iter=50, tol=0)
    numbers = [*found.means, *found.variances, *found.weights]
    assert all(math.isfinite(number) for number in numbers) and sum(found.weights) == pytest.approx(1, abs=1e-12)
    assert found.means[0] <= found.means[1] and min(found.variances) >= 5e-4 * (1 - 1e-12)
    prob = found.clean_prob(values)
    assert bool(((prob >= 0) & (prob <= 1)).all())
    # the M step's identities for the pooled values
    mean = sum(w * m for w, m in zip(found.weights, found.means, strict=True))
    assert mean == pytest.approx(float(values.mean()), rel=1e-9)
    pooled = sum(w * (v - 5e-4 + m * m) for w, v, m in zip(found.weights, found.variances, found.means, strict=True)) - mean**2
    assert pooled == pytest.approx(float(values.var(correction=0)), rel=1e-6)


def test_posterior_is_bayes_rule() -> None:
    fitted = Mixture((0.1, 0.5), (0.004, 0.05), (0.7, 0.3), converged=True, iterations=2)
    grid = torch.linspace(-0.5, 1.5, 81, dtype=torch.float64)
    low, high = ([w * density(x, m, v) for x in grid.tolist()] for m, v, w in ((0.1, 0.004, 0.7), (0.5, 0.05, 0.3)))
    expected = [p / (p + q) for p, q in zip(low, high, strict=True)]
    assert fitted.clean_prob(grid).tolist() == pytest.approx(expected, rel=1e-9)


def test_posterior_that_is_not_monotone_is_kept() -> None:
    # a narrow low component: losses left of it belong to the wide one; the roots of the log ratio are 0.0213 and 0.2383
    fitted = Mixture((0.12, 0.5), (0.001, 0.04), (0.5, 0.5), converged=True, iterations=2)
    prob = fitted.clean_prob(torch.tensor([-0.1, 0.0, 0.12, 0.3, 0.5], dtype=torch.float64))
    assert (prob > 0.5).tolist() == [False, False, True, False, False]
    assert float(prob[0]) < float(prob[1]) < float(prob[2])


def test_fitted_mixture_may_call_the_lowest_losses_wrong() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = 0.3 + 0.01 * torch.randn(8000, generator=generator, dtype=torch.float64)
    values = torch.cat([clean, torch.rand(2000, generator=generator, dtype=torch.float64)])
    found = fit_mixture(values, max_iter=100, tol=1e-6)
    prob = found.clean_prob(values)
    assert found.variances[0] < found.variances[1]
    assert float(prob[values.argmin()]) < 0.5 < float(prob[(values - found.means[0]).abs().argmin()])


@pytest.mark.parametrize(("variances", "left", "right"), [((0.01, 0.01), 1, 0), ((0.01, 0.02), 0, 0), ((0.02, 0.01), 1, 1)])
def test_far_ends_have_a_limit_and_no_nan(variances: tuple[float, float], left: int, right: int) -> None:
    fitted = Mixture((0.2, 0.8), variances, (0.5, 0.5), converged=True, iterations=1)
    for far in (1e2, 1e8, 1e155, 1e200, 1.7e308):
        assert fitted.clean_prob(torch.tensor([-far, far], dtype=torch.float64)).tolist() == [left, right]


def test_components_that_coincide_have_their_weights_as_posterior() -> None:
    fitted = Mixture((0.2, 0.2), (0.01, 0.01), (0.75, 0.25), converged=True, iterations=1)
    assert fitted.clean_prob(torch.tensor([-1.7e308, 0, 0.2, 1.7e308], dtype=torch.float64)).tolist() == pytest.approx([0.75] * 4)


def test_normalized_losses_reach_from_zero_to_one() -> None:
    values = torch.tensor([3.0, -1.0, 0.0, 7.0])
    assert normalize(values).tolist() == [0.5, 0.0, 0.125, 1.0]
    small = torch.tensor([5e-324, 0.0, 1e-323], dtype=torch.float64)  # 1 / range is infinite
    assert normalize(small).tolist() == [0.5, 0.0, 1.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_mixture_of_the_cpu() -> None:
    values = losses("overlapping", 1_200_000, 0)
    host, device = fit_mixture(values), fit_mixture(values.cuda())
    assert device.means == pytest.approx(host.means, rel=1e-9) and device.iterations == host.iterations
    prob = device.clean_prob(values.cuda())
    assert prob.is_cuda and prob.dtype == torch.float64
    torch.testing.assert_close(prob.cpu(), host.clean_prob(values), atol=1e-8, rtol=0)
