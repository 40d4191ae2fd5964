from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from noisylab.losses import negative_entropy, prior_penalty, sharpen, soft_cross_entropy, squared_error

OX, TX = torch.tensor([[2.0, 0, -1], [0, 1, 0]]), torch.tensor([[0.9, 0.1, 0], [0.2, 0.7, 0.1]])
OU, TU = torch.tensor([[0.0, 0, 1], [1, -1, 0]]), torch.tensor([[0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])


def test_parts_of_the_objective_by_hand() -> None:
    labeled, unlabeled = soft_cross_entropy(OX, TX), squared_error(OU, TU).mean()
    mean = F.softmax(torch.cat([OX, OU]), 1).mean(0)
    penalty = prior_penalty(mean)
    assert labeled.item() == pytest.approx(0.610645, abs=1e-6)
    assert unlabeled.item() == pytest.approx(0.0155893, abs=1e-7)
    assert mean.tolist() == pytest.approx([0.483230, 0.248071, 0.268699], abs=1e-6)
    assert penalty.item() == pytest.approx(0.0465431, abs=1e-7)
    assert (labeled + 12.5 * unlabeled + penalty).item() == pytest.approx(0.852055, abs=1e-6)


@pytest.mark.parametrize(
    ("probs", "sharp"),
    [
        ([0.9, 0.1], [0.987805, 0.012195]),
        ([0.8, 0.2], [0.941176, 0.058824]),
        ([0.5, 0.3, 0.2], [0.657895, 0.236842, 0.105263]),
        ([0.2, 0.72, 0.08], [0.070822, 0.917847, 0.011331]),
        ([0.4, 0.475, 0.125], [0.398754, 0.562305, 0.038941]),
    ],
)
def test_sharpened_by_hand(probs: list[float], sharp: list[float]) -> None:
    assert sharpen(torch.tensor([probs]), 0.5)[0].tolist() == pytest.approx(sharp, abs=1e-6)


def test_temperature_one_changes_nothing_and_a_high_one_levels() -> None:
    probs = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(sharpen(probs, 1.0), probs)
    assert float(sharpen(probs, 5.0).max()) < 0.7


def test_warm_up_loss_with_the_penalty_on_confidence() -> None:
    target = torch.tensor([0, 2])
    assert F.cross_entropy(OX, target).item() == pytest.approx(0.860645, abs=1e-6)
    assert (F.cross_entropy(OX, target) + negative_entropy(OX)).item() == pytest.approx(0.110848, abs=1e-6)


def test_penalty_is_zero_for_equal_shares_and_finite_for_a_class_that_is_never_predicted() -> None:
    assert prior_penalty(torch.full((4,), 0.25)).item() == pytest.approx(0, abs=1e-7)
    never = torch.tensor([0.5, 0.5, 0.0], requires_grad=True)
    penalty = prior_penalty(never)
    penalty.backward()
    assert math.isfinite(penalty.item()) and never.grad is not None and bool(never.grad.isfinite().all())


def test_penalty_is_the_divergence_of_the_mean_from_the_prior() -> None:
    mean = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    # 0.2 log(0.2/0.5) + 0.7 log(0.7/0.3) + 0.1 log(0.1/0.2)
    prior = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)
    expected = 0.2 * math.log(0.4) + 0.7 * math.log(7 / 3) + 0.1 * math.log(0.5)
    assert prior_penalty(mean, prior).item() == pytest.approx(expected, abs=1e-15)
    assert prior_penalty(prior, prior).item() == pytest.approx(0, abs=1e-15)
    assert torch.autograd.gradcheck(lambda m: prior_penalty(m, prior), (mean.clone().requires_grad_(),))


def test_penalty_of_joint_optimization_less_its_constant_by_hand() -> None:
    logits = torch.tensor([[2, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
    mean, equal = logits.softmax(1).mean(0), torch.full((3,), 1 / 3, dtype=torch.float64)
    for penalty in (prior_penalty(mean), prior_penalty(mean, equal)):
        assert penalty.item() == pytest.approx(0.05126239574629616, abs=1e-14)
    assert prior_penalty(mean).item() + math.log(3) == pytest.approx(1.1498746844144059, abs=1e-14)


def test_a_class_without_a_share_in_the_prior_costs_nothing_and_one_that_is_never_predicted_has_a_bounded_price() -> None:
    assert prior_penalty(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])).item() == 0
    never = torch.tensor([1.0, 0.0], requires_grad=True)
    penalty = prior_penalty(never, torch.tensor([0.5, 0.5]))
    penalty.backward()
    assert math.isfinite(penalty.item()) and never.grad is not None and bool(never.grad.isfinite().all())


@pytest.mark.parametrize("classes", [10, 100])
def test_a_temperature_near_zero_takes_the_largest(classes: int) -> None:
    probs = torch.full((1, classes), 1 / classes)
    torch.testing.assert_close(sharpen(probs, 0.005), probs)
    assert float(sharpen(probs + 0.01 * torch.eye(classes)[:1], 0.001)[0, 0]) == pytest.approx(1)
    assert sharpen(torch.eye(classes)[:1], 0.01).tolist() == torch.eye(classes)[:1].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    assert sharpen(torch.tensor([[0.5, 0.5]], dtype=dtype), 0.5).dtype == torch.float32
    assert squared_error(OU.to(dtype), TU).dtype == torch.float32


def test_gradient_of_the_squared_error() -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.softmax(torch.randn(3, 4, dtype=torch.float64), 1)
    assert torch.autograd.gradcheck(lambda z: squared_error(z, target), (logits,))
