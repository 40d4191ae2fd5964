from __future__ import annotations

import pytest
import torch

from noisylab.transforms import Draws, FeatureDropout, FeatureIdentity, FeatureNoise, FeatureScale

POSITION = torch.arange(500)


@pytest.mark.parametrize("view", [FeatureIdentity(), FeatureNoise(0.1), FeatureScale(0.5, 2.0), FeatureDropout(0.2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.int64])
def test_result_is_float32(view, dtype):
    assert view(torch.ones(500, 4, dtype=dtype), Draws(0, POSITION)).dtype == torch.float32


def test_noise_is_independent_between_features():
    noise = FeatureNoise(0.5)(torch.zeros(500, 30), Draws(0, POSITION))
    assert abs(noise.std().item() - 0.5) < 0.02
    assert torch.corrcoef(noise[:, :2].T)[0, 1].abs() < 0.2


def test_scale_uses_one_factor_a_sample():
    scaled = FeatureScale(0.5, 2.0)(torch.ones(500, 30), Draws(0, POSITION))
    assert (scaled == scaled[:, :1]).all()
    assert 0.5 <= scaled.min() < 0.52 and 1.98 < scaled.max() <= 2.0


def test_dropout_keeps_the_expected_value():
    kept = FeatureDropout(0.25)(torch.ones(500, 40), Draws(0, POSITION))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert abs(kept.mean().item() - 1) < 0.03


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_dropout_refuses_impossible_probabilities(p):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        FeatureDropout(p)
