from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylab.losses import soft_hgr
from noisylab.metrics import HScore, SoftHGR


def h_score(f: np.ndarray, y: np.ndarray) -> float:
    """tr(cov(f)^-1 cov(E[f | y])), each expectation written out for the sample it is of."""
    expected = np.stack([f[y == label].mean(0) for label in y])
    return float(np.trace(np.linalg.inv(np.cov(f.T)) @ np.cov(expected.T)))


def test_any_batches_give_the_score_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40)
    f = rng.normal(size=(40, 4)) + np.eye(4)[y] * 2 + 5
    g = rng.normal(size=(40, 4)) + f
    for cuts in ([40], [7, 20, 13]):
        score, common = HScore(4), SoftHGR()  # a fourth class without samples
        for part_f, part_g, part_y in zip(*(torch.from_numpy(values).split(cuts) for values in (f, g, y)), strict=True):
            score.update(part_f, part_y)
            common.update(part_f, part_g)
        assert score.compute() == pytest.approx(h_score(f, y), rel=1e-9)
        assert common.compute() == pytest.approx(float(soft_hgr(torch.from_numpy(f), torch.from_numpy(g))), rel=1e-9)
        assert np.isnan(score.compute()), "it begins anew"


def test_the_numbers_of_the_specification_and_the_limits() -> None:
    f, y = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]]), torch.tensor([0, 1, 0, 1])
    wide = torch.cat([f, f, torch.zeros(4, 1)], 1)  # directions that are there twice, and one that never varies
    for embedding in (f, wide, 1e-3 * wide):
        score = HScore(2)
        score.update(torch.cat([embedding, torch.full((1, embedding.shape[1]), 9.0)]), torch.cat([y, torch.tensor([-1])]))
        assert score.compute() == pytest.approx(1.0), "rows without a label do not count"
    score = HScore(3)
    score.update(torch.eye(3)[torch.arange(9) % 3], torch.arange(9) % 3)
    assert score.compute() == pytest.approx(2.0), "K - 1 where the embedding is the class"


def test_ranks_sum_up() -> None:
    torch.manual_seed(0)
    f, y = torch.randn(12, 3), torch.arange(12) % 2
    whole, first, second = HScore(2), HScore(2), HScore(2)
    whole.update(f, y)
    first.update(f[:5], y[:5])
    second.update(f[5:], y[5:])
    theirs = iter(list(second._sums.values()))
    assert first.compute(lambda own: own + next(theirs)) == pytest.approx(whole.compute(), rel=1e-12)
