from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisylab.metrics import transition_error, transition_metrics
from noisylab.noise import PairFlip, Symmetric

ESTIMATE = torch.tensor(
    [
        [0.74072658, 0.01935282, 0.07026559, 0.00596408, 0.01678354, 0.14690741],
        [0.03586634, 0.71411037, 0.12696856, 0.01515382, 0.02747697, 0.08042397],
        [0.06790715, 0.15041716, 0.58079056, 0.05768638, 0.02814293, 0.1150558],
        [0.04842931, 0.04216269, 0.00557405, 0.80087784, 0.0454859, 0.05747022],
        [0.02076734, 0.08967834, 0.03257319, 0.02381871, 0.80996074, 0.02320168],
        [0.05548994, 0.07312605, 0.01950351, 0.04691109, 0.12951871, 0.6754507],
    ],
    dtype=torch.float64,
)


def _symmetric(classes: int, rate: float) -> Tensor:
    matrix = torch.full((classes, classes), rate / (classes - 1), dtype=torch.float64)
    return matrix.fill_diagonal_(1 - rate)


def test_error_of_a_published_estimate() -> None:
    assert transition_error(ESTIMATE, _symmetric(6, 0.4)) == pytest.approx(0.3400320533, abs=1e-9)


def test_errors_of_the_identity_the_uniform_and_the_truth() -> None:
    truth = _symmetric(10, 0.4)
    assert transition_error(torch.eye(10), truth) == pytest.approx(0.8)
    assert transition_error(torch.full((10, 10), 0.1), truth) == pytest.approx(1.0)
    assert transition_error(truth, truth) == 0


@pytest.mark.parametrize("rate", [0.1, 0.45])
def test_error_of_the_identity_is_twice_the_flip_rate(rate: float) -> None:
    for noise in (PairFlip(rate), Symmetric(rate)):
        assert transition_error(torch.eye(7), noise.transition_matrix(7)) == pytest.approx(2 * rate)


def test_the_truth_is_the_denominator() -> None:
    assert transition_error(2 * torch.eye(3), torch.eye(3)) == pytest.approx(1.0)


def test_parts_of_the_error() -> None:
    truth = torch.eye(2)
    estimate = torch.tensor([[0.4, 0.6], [0.2, 0.8]])
    found = transition_metrics(estimate, truth)
    assert found["error"] == pytest.approx((0.6 + 0.6 + 0.2 + 0.2) / 2)
    assert found["max_row"] == pytest.approx(1.2)
    assert found["diagonal"] == pytest.approx(0.4)
    assert found["argmax_right"] == 0.5
    singular = torch.linalg.svdvals(estimate.double())
    assert found["condition"] == pytest.approx(float(singular[0] / singular[1]), rel=1e-6)
