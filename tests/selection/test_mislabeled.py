from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisylab.selection.meta_weights import Rule, hard_weights, mislabeled, sum_to_one

W = torch.tensor([0.05, 0.2, 0.1, 0.05])


def test_scores_are_brought_to_a_sum() -> None:
    scores = torch.tensor([3.0, -2, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(sum_to_one(scores), torch.tensor([0.75, 0, 0.25, 0], dtype=torch.float64))
    torch.testing.assert_close(sum_to_one(scores * 1e-5, epsilon=1e-5), torch.tensor([0.6, 0, 0.2, 0], dtype=torch.float64))
    torch.testing.assert_close(sum_to_one(scores, torch.tensor(8.0)), torch.tensor([0.375, 0, 0.125, 0], dtype=torch.float64))


@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_scores_below_zero_give_no_weight(epsilon: float) -> None:
    assert sum_to_one(torch.tensor([-1.0, 0, -3]), epsilon=epsilon).tolist() == [0, 0, 0]


def test_weights_of_a_batch_between_the_smallest_and_the_largest() -> None:
    torch.testing.assert_close(hard_weights(W), torch.tensor([0, 1, 1 / 3, 0]))


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_weights_that_are_alike_are_all_smallest(value: float) -> None:
    assert hard_weights(torch.full((3,), value)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("threshold", "rule", "expected"),
    [
        (1.1, "hard_weights", [1, 1, 1, 1]),
        (1.1, "quantile", [1, 1, 1, 1]),  # a quantile has to be at most 1
        (1.0, "hard_weights", [1, 0, 1, 1]),
        (1.0, "quantile", [1, 0, 1, 1]),
        (0.5, "hard_weights", [1, 0, 1, 1]),
        (0.2, "hard_weights", [1, 0, 0, 1]),
        (0.0, "hard_weights", [1, 0, 0, 1]),  # nothing is below 0: the samples of the smallest weight
        (0.2, "quantile", [1, 0, 0, 1]),  # nothing is below 0.05
        (0.5, "quantile", [1, 0, 0, 1]),  # below 0.075
        (0.9, "quantile", [1, 0, 1, 1]),
        (0.0, "quantile", [1, 0, 0, 1]),
    ],
)
def test_samples_of_small_weight_are_mislabeled(threshold: float, rule: Rule, expected: list[int]) -> None:
    assert mislabeled(W, threshold, rule).int().tolist() == expected


def test_a_threshold_is_excluded_where_something_lies_below() -> None:
    assert mislabeled(torch.tensor([0.0, 0.25, 0.5, 1.0]), 0.5).tolist() == [True, True, False, False]
    assert mislabeled(torch.tensor([0.0, 0.25, 0.5, 1.0, 2.0]), 0.5, "quantile").tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("rule", ["hard_weights", "quantile"])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 1.0, 1.1])
@pytest.mark.parametrize("weights", [torch.zeros(4), torch.full((3,), 0.25), torch.tensor([0.7])])
def test_weights_that_are_alike_are_all_mislabeled(weights: Tensor, threshold: float, rule: Rule) -> None:
    assert bool(mislabeled(weights, threshold, rule).all())


@pytest.mark.parametrize(("count", "half"), [(4, 2), (5, 3), (1, 1)])
def test_without_any_order_half_of_the_samples_are_mislabeled(count: int, half: int) -> None:
    found = mislabeled(torch.full((count,), float("nan")), 0.2)
    assert int(found.sum()) == half


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.99, 1.0, 2.0])
@pytest.mark.parametrize("rule", ["hard_weights", "quantile"])
def test_some_sample_is_always_mislabeled(threshold: float, rule: Rule) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        weights = torch.rand(7, generator=generator).sub(0.3).clamp(min=0)
        before = weights.clone()
        found = mislabeled(weights, threshold, rule)
        assert bool(found.any()) and torch.equal(weights, before)
        assert bool(found[weights.argmin()]), "the smallest weight first"


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="rule must be one of hard_weights, quantile, got 'soft'"):
        mislabeled(W, 0.5, "soft")  # type: ignore[arg-type]
    for value in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="threshold must be at least 0, got"):
            mislabeled(W, value)
