"""Losses that use a transition matrix, against the numbers of slow scripts, plain formulas and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.estimation import VolumeMinimizing, invert
from noisylab.losses import (
    backward_loss,
    cross_entropy,
    forward_loss,
    given_log_probs,
    importance_weights,
    log_volume,
    reweighted_loss,
)

LOGITS = torch.tensor([[2, 0, -1], [0.5, 1, 0], [0, 0, 1], [1, -1, 0.5]], dtype=torch.float64)
MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.15, 0.25, 0.6]], dtype=torch.float64)
FORWARD_TARGET = torch.tensor([0, 1, 2, 0])
REVISION_TARGET = torch.tensor([0, 1, 2, 1])
IDENTITY = torch.eye(3, dtype=torch.float64)


def _leaf(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def _close(found: Tensor, expected: list[object], places: int = 4) -> None:
    assert torch.allclose(found, torch.tensor(expected, dtype=found.dtype), rtol=0, atol=0.5001 * 10**-places), found


# ---- forward


def test_forward_loss_has_the_value_of_the_formula() -> None:
    assert forward_loss(LOGITS, FORWARD_TARGET, MATRIX).item() == pytest.approx(0.7207788077678906, abs=1e-14)
    each = forward_loss(LOGITS, FORWARD_TARGET, MATRIX, reduction="none")
    slow = [-((row.exp() / row.exp().sum()) @ MATRIX)[y].log() for row, y in zip(LOGITS, FORWARD_TARGET.tolist(), strict=True)]
    assert torch.allclose(each, torch.stack(slow), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_forward_loss_with_the_identity_is_cross_entropy_to_the_bit(dtype: torch.dtype) -> None:
    logits = torch.cat([LOGITS, 300 * LOGITS]).to(dtype)  # also where the probability of the label is no float32
    target = FORWARD_TARGET.repeat(2)
    found = forward_loss(logits, target, torch.eye(3, dtype=torch.float32), reduction="none")
    assert torch.equal(found, cross_entropy(logits, target, reduction="none"))


def test_log_probabilities_of_given_labels_are_normalized_and_give_the_forward_loss() -> None:
    found = given_log_probs(LOGITS, MATRIX)
    assert torch.allclose(found, (LOGITS.softmax(1) @ MATRIX).log(), rtol=1e-14, atol=0)
    assert F.cross_entropy(found, FORWARD_TARGET).item() == pytest.approx(F.nll_loss(found, FORWARD_TARGET).item(), abs=1e-15)
    assert F.nll_loss(found, FORWARD_TARGET).item() == pytest.approx(forward_loss(LOGITS, FORWARD_TARGET, MATRIX).item())


def test_log_probabilities_stay_exact_where_probabilities_leave_the_range_of_float32() -> None:
    matrix = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75], [0.0, 0.0, 1.0]])
    logits = torch.tensor([[0.0, -200.0, -300.0]], requires_grad=True)
    found = given_log_probs(logits, matrix)
    expected = [0.0, -200 + torch.tensor(0.25).log().item(), -200 + torch.tensor(0.75).log().item()]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-6)
    (gradient,) = torch.autograd.grad(found[0, 2], logits)
    assert gradient[0].tolist() == pytest.approx([-1.0, 1.0, 0.0], abs=1e-6)


def test_gradients_of_the_forward_loss_are_right_for_logits_and_matrix_also_at_entries_of_zero() -> None:
    assert torch.autograd.gradcheck(lambda z, t: forward_loss(z, FORWARD_TARGET, t), (_leaf(LOGITS), _leaf(MATRIX)))
    assert torch.autograd.gradcheck(given_log_probs, (_leaf(LOGITS), _leaf(MATRIX)))
    zeros = torch.tensor([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64)
    matrix, probs = _leaf(zeros), LOGITS.softmax(1)
    forward_loss(LOGITS, FORWARD_TARGET, matrix).backward()
    expected = torch.zeros_like(zeros)
    for row, label in zip(probs, FORWARD_TARGET.tolist(), strict=True):
        expected[:, label] -= row / (row @ zeros)[label] / 4
    assert matrix.grad is not None and torch.allclose(matrix.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_label_that_the_matrix_calls_impossible_has_a_finite_loss_and_no_nan(dtype: torch.dtype) -> None:
    matrix = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], requires_grad=True)
    logits = (20 * LOGITS).to(dtype).requires_grad_()
    losses = forward_loss(logits, torch.tensor([2, 1, 2, 1]), matrix, reduction="none")
    assert losses.dtype == torch.float32 and losses[[0, 2]].tolist() == pytest.approx([18.420681] * 2, rel=1e-6)
    logs = given_log_probs(logits, matrix)
    assert torch.equal(logs.isneginf(), torch.tensor([[False, False, True]] * 4))
    (losses.sum() + logs.sum()).backward()
    for leaf in (logits, matrix):
        assert leaf.grad is not None and bool(leaf.grad.isfinite().all())


# ---- backward


def test_backward_loss_has_the_values_of_the_formula() -> None:
    inverse = invert(MATRIX)
    _close(inverse, [[1.5167, -0.3167, -0.2], [-0.15, 1.35, -0.2], [-0.3167, -0.4833, 1.8]])
    _close(backward_loss(LOGITS, FORWARD_TARGET, inverse, reduction="none"), [-1.0635, 0.4053, -0.2486, -0.1784])
    assert backward_loss(LOGITS, FORWARD_TARGET, inverse).item() == pytest.approx(-0.2712873357236512, abs=1e-14)


def test_backward_loss_is_on_average_over_given_labels_the_cross_entropy_to_the_true_one() -> None:
    inverse = invert(MATRIX)
    each = torch.stack([backward_loss(LOGITS, torch.full((4,), y), inverse, reduction="none") for y in range(3)])
    for true in range(3):
        assert torch.allclose(MATRIX[true] @ each, -LOGITS.log_softmax(1)[:, true], rtol=0, atol=1e-14)


def test_backward_loss_with_the_identity_is_cross_entropy() -> None:
    found = backward_loss(LOGITS, FORWARD_TARGET, IDENTITY)
    assert found.item() == pytest.approx(cross_entropy(LOGITS, FORWARD_TARGET).item(), abs=1e-15)


def test_cap_bounds_each_loss_from_above_and_takes_its_gradient() -> None:
    logits = _leaf(LOGITS)
    found = backward_loss(logits, FORWARD_TARGET, invert(MATRIX), cap=-0.2, reduction="none")
    _close(found, [-1.0635, -0.2, -0.2486, -0.2])
    found.sum().backward()
    assert logits.grad is not None and logits.grad.any(1).tolist() == [True, False, True, False]


def test_clipped_probabilities_bound_the_backward_loss_and_have_no_gradient() -> None:
    inverse = invert(torch.tensor([[0.6, 0.4], [0.4, 0.6]], dtype=torch.float64))
    _close(inverse, [[3.0, -2.0], [-2.0, 3.0]])
    logits = _leaf(torch.tensor([[0.0, 60.0]], dtype=torch.float64))
    found = backward_loss(logits, torch.tensor([1]), inverse)
    # -2 and 3 times the logarithms of 1e-7 and 1 - 1e-7
    assert found.item() == pytest.approx(-2 * 7 * math.log(10) + 3e-7, abs=1e-9)
    (gradient,) = torch.autograd.grad(found, logits)
    assert not gradient.any()
    plain = backward_loss(logits, torch.tensor([1]), inverse, least_probability=None)
    assert plain.item() == pytest.approx(-120, abs=1e-6)
    assert torch.autograd.grad(plain, logits)[0].tolist() == [[pytest.approx(2), pytest.approx(-2)]]


def test_a_clipped_entry_leaves_the_others_their_gradient() -> None:
    logits = _leaf(torch.tensor([[1.0, 0.5, -30.0]], dtype=torch.float64))
    inverse = invert(MATRIX)
    found = backward_loss(logits, torch.tensor([2]), inverse)
    log_probs = logits.log_softmax(1)[0]
    expected = -(inverse[2, 0] * log_probs[0] + inverse[2, 1] * log_probs[1] + inverse[2, 2] * math.log(1e-7))
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    for mine, right in zip(torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits), strict=True):
        torch.testing.assert_close(mine, right)
    wide = backward_loss(logits, torch.tensor([2]), inverse, least_probability=1e-2)
    assert wide.item() == pytest.approx((expected + inverse[2, 2] * (math.log(1e-7) - math.log(1e-2))).item(), abs=1e-12)


# ---- reweighting


def test_weights_and_reweighted_loss_have_the_values_of_the_formula() -> None:
    _close(importance_weights(LOGITS, REVISION_TARGET, MATRIX), [1.3870, 0.9869, 1.4846, 0.2943])
    for detach in (True, False):
        found = reweighted_loss(LOGITS, REVISION_TARGET, MATRIX, detach_weights=detach)
        assert found.item() == pytest.approx(0.619364306807986, abs=1e-14)


def test_detached_weights_are_constants_and_attached_ones_are_not() -> None:
    gradients = {}
    for detach in (True, False):
        logits, matrix = _leaf(LOGITS), _leaf(MATRIX)
        reweighted_loss(logits, REVISION_TARGET, matrix, detach_weights=detach).backward()
        assert logits.grad is not None and (matrix.grad is None) == detach
        gradients[detach] = logits.grad[0]
    _close(gradients[True], [-0.0542, 0.0396, 0.0146])
    _close(gradients[False], [-0.0524, 0.0385, 0.0140])


def test_the_slack_has_the_gradient_of_the_formula_and_is_added_once() -> None:
    slack = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    reweighted_loss(LOGITS, REVISION_TARGET, MATRIX + slack, detach_weights=False).backward()
    assert slack.grad is not None
    _close(slack.grad, [[-0.0817, -0.5092, -0.1118], [-0.0111, -0.2210, -0.1118], [-0.0041, -0.3088, -0.3039]])
    moved = torch.full((3, 3), 0.01, dtype=torch.float64)
    moved[0, 0] = -0.02
    found = reweighted_loss(LOGITS, REVISION_TARGET, MATRIX + moved, detach_weights=False)
    assert found.item() == pytest.approx(0.6056761330368279, abs=1e-14)  # 0.5751726815987501 with the slack added once a sample


def test_columns_of_labels_that_are_not_in_the_batch_have_no_gradient() -> None:
    matrix = _leaf(MATRIX)
    reweighted_loss(LOGITS, torch.tensor([0, 1, 1, 0]), matrix, detach_weights=False).backward()
    assert matrix.grad is not None and matrix.grad.any(0).tolist() == [True, True, False]


def test_gradients_of_the_reweighted_loss_are_right_for_logits_and_matrix() -> None:
    def loss(logits: Tensor, matrix: Tensor) -> Tensor:
        return reweighted_loss(logits, REVISION_TARGET, matrix, detach_weights=False, reduction="none")

    assert torch.autograd.gradcheck(loss, (_leaf(LOGITS), _leaf(MATRIX)))
    assert torch.autograd.gradcheck(loss, (_leaf(LOGITS), _leaf(MATRIX - 0.12)))  # with negative entries


def test_with_the_identity_weights_are_one_and_the_loss_is_cross_entropy() -> None:
    assert importance_weights(LOGITS, REVISION_TARGET, IDENTITY).tolist() == [1.0] * 4
    found = reweighted_loss(LOGITS, REVISION_TARGET, IDENTITY, detach_weights=True, reduction="none")
    assert torch.equal(found, cross_entropy(LOGITS, REVISION_TARGET, reduction="none"))


def test_a_denominator_below_its_limit_is_replaced_by_it() -> None:
    matrix, logits = _leaf(MATRIX - 1), _leaf(LOGITS)  # (p T)[y] is negative everywhere
    weights = importance_weights(logits, REVISION_TARGET, matrix)
    own = LOGITS.softmax(1).gather(1, REVISION_TARGET[:, None]).squeeze(1)
    assert torch.allclose(weights, own / 1e-12)
    weights.sum().backward()
    assert matrix.grad is not None and not bool(matrix.grad.any())


def test_max_weight_bounds_weights_from_above() -> None:
    found = reweighted_loss(LOGITS, REVISION_TARGET, MATRIX, detach_weights=False, max_weight=1.0, reduction="none")
    _close(found, [0.1698, 0.9869 * 0.6803, 0.5514, 0.2943 * 2.5550], places=3)


# ---- all of them


_LOSSES: dict[str, Callable[..., Tensor]] = {
    "forward": forward_loss,
    "backward": lambda z, y, t, **options: backward_loss(z, y, invert(t), **options),
    "reweighted": lambda z, y, t, **options: reweighted_loss(z, y, t, detach_weights=False, **options),
}


@pytest.mark.parametrize("name", _LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_losses_are_computed_in_float32_or_wider_also_under_autocast(name: str, dtype: torch.dtype) -> None:
    logits, wide = (8 * LOGITS).to(dtype), (8 * LOGITS).to(dtype).double()
    with torch.autocast("cpu", torch.bfloat16):
        found = _LOSSES[name](logits, REVISION_TARGET, MATRIX, reduction="none")
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = _LOSSES[name](wide, REVISION_TARGET, MATRIX, reduction="none")
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-6)
    assert _LOSSES[name](logits, REVISION_TARGET, MATRIX).item() == pytest.approx(expected.mean().item(), rel=1e-4)


@pytest.mark.parametrize("name", _LOSSES)
def test_losses_change_none_of_their_arguments(name: str) -> None:
    logits, target, matrix = LOGITS.clone(), REVISION_TARGET.clone(), MATRIX.clone()
    _LOSSES[name](logits, target, matrix)
    assert torch.equal(logits, LOGITS) and torch.equal(target, REVISION_TARGET) and torch.equal(matrix, MATRIX)


# ---- volume


def test_log_volume_is_the_logarithm_of_the_determinant() -> None:
    assert log_volume(MATRIX).item() == pytest.approx(-1.2039728043259363, abs=1e-14)
    assert log_volume(MATRIX.flip(0)).item() == pytest.approx(-1.2039728043259363, abs=1e-14)  # a determinant below 0
    loss = forward_loss(LOGITS, FORWARD_TARGET, MATRIX) + 1e-4 * log_volume(MATRIX)
    assert loss.item() == pytest.approx(0.720658410487458, abs=1e-14)


def test_gradient_of_log_volume_is_the_transposed_inverse() -> None:
    matrix = _leaf(MATRIX)
    log_volume(matrix).backward()
    assert matrix.grad is not None and torch.allclose(matrix.grad, torch.linalg.inv(MATRIX).t())
    assert torch.autograd.gradcheck(log_volume, (_leaf(MATRIX),))


def test_log_volume_of_a_hundred_classes_is_finite_in_any_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        matrix = VolumeMinimizing(100)()
        found = log_volume(matrix), log_volume(matrix.bfloat16())
    assert found[0].dtype == found[1].dtype == torch.float32
    assert found[0].item() == pytest.approx(-73.96430905071239, abs=1e-3)
    assert found[1].item() == pytest.approx(-73.96, abs=0.5)
