from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisylab.metrics import transition_error, transition_metrics, transition_record
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


def test_lowest_entry_and_row_sums_tell_whether_an_estimate_is_a_transition_matrix() -> None:
    found = transition_metrics(torch.tensor([[0.75, 0.5], [-0.125, 1.0]]), torch.eye(2))
    assert found["min_entry"] == -0.125 and found["row_sum"] == 0.25


def test_without_a_truth_the_estimate_is_measured_alone() -> None:
    found = transition_metrics(ESTIMATE)
    assert set(found) == {"argmax_right", "condition", "min_entry", "row_sum"}
    compared = transition_metrics(ESTIMATE, _symmetric(6, 0.4))
    assert found == {name: compared[name] for name in found}


def test_of_a_truth_with_more_classes_those_of_the_estimate_are_compared() -> None:
    truth = torch.full((8, 8), 0.0, dtype=torch.float64)
    truth[:6, :6] = _symmetric(6, 0.4)
    truth[6:, :6] = 1 / 6  # samples of outside classes, labeled at random
    assert transition_error(ESTIMATE, truth) == pytest.approx(0.3400320533, abs=1e-9)
    assert transition_metrics(ESTIMATE, truth) == transition_metrics(ESTIMATE, _symmetric(6, 0.4))
    assert transition_record(3, ESTIMATE, truth, {})["truth"] == _symmetric(6, 0.4).tolist()


def test_a_smaller_truth_and_an_estimate_that_is_not_square_are_refused() -> None:
    for estimate, truth in ((ESTIMATE, torch.eye(5)), (ESTIMATE[:4], torch.eye(6)), (ESTIMATE, torch.eye(7)[:6])):
        with pytest.raises(ValueError, match=r"the estimate .* and the truth .* must be square, the truth no smaller"):
            transition_error(estimate, truth)


def test_an_estimate_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite: training has diverged"):
        transition_metrics(torch.tensor([[1.0, 0.0], [float("nan"), 1.0]]), torch.eye(2))


def test_a_record_holds_plain_values() -> None:
    estimate = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    assert transition_record(4, estimate.requires_grad_(), None, {"row_sum": 0.0}) == {
        "epoch": 4,
        "estimate": [[0.75, 0.25], [0.5, 0.5]],
        "truth": None,
        "metrics": {"row_sum": 0.0},
    }
