from __future__ import annotations

import pytest
import torch

from noisylab.selection import sum_to_one


def test_weights_of_four_scores() -> None:
    weights = sum_to_one(torch.tensor([0.3, -0.2, 0.0, 0.1]))
    assert weights.tolist() == pytest.approx([0.75, 0, 0, 0.25])


def test_a_score_that_is_not_positive_has_a_weight_of_exactly_zero() -> None:
    scores = torch.tensor([-1e-30, 0.0, -3.0, 1e-30])
    assert sum_to_one(scores).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("scores", [[-1.0, -2.0], [0.0, 0.0], [-1e-38], []])
def test_no_positive_score_gives_no_weight(scores: list[float]) -> None:
    for epsilon in (0.0, 1e-5):
        assert sum_to_one(torch.tensor(scores), epsilon=epsilon).tolist() == [0.0] * len(scores)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_sum_to_one_or_are_all_zero_whatever_the_scale(dtype: torch.dtype) -> None:
    for seed in range(50):
        scores = torch.randn(1 + seed % 7, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for scale in (1e-12, 1.0, 1e12):
            weights = sum_to_one(scale * scores)
            assert weights.dtype == dtype and bool((weights >= 0).all())
            assert weights.sum().item() == pytest.approx(float(bool((scores > 0).any())), abs=1e-6)
            torch.testing.assert_close(weights, sum_to_one(scores), rtol=1e-5, atol=0)


def test_epsilon_takes_weight_away_from_small_scores() -> None:
    scores = torch.tensor([3e-5, 1e-5, -1.0])
    assert sum_to_one(scores, epsilon=1e-5).tolist() == pytest.approx([0.6, 0.2, 0])
    assert sum_to_one(1e6 * scores, epsilon=1e-5).tolist() == pytest.approx([0.75, 0.25, 0], abs=1e-5)


def test_parts_of_a_batch_share_its_sum() -> None:
    scores = torch.tensor([0.5, -1.0, 0.25, 0.0, 1.25])
    total = scores.clamp(min=0).sum()
    parts = [sum_to_one(part, total) for part in (scores[:2], scores[2:])]
    assert torch.equal(torch.cat(parts), sum_to_one(scores))
    assert sum_to_one(scores[1:2], total).tolist() == [0.0], "others have the weight"
    assert sum_to_one(torch.tensor([-1.0]), torch.tensor(0.0)).tolist() == [0.0]


def test_scores_are_left_as_they_are() -> None:
    scores = torch.tensor([1.0, -1.0])
    sum_to_one(scores, epsilon=1.0)
    assert scores.tolist() == [1.0, -1.0]
