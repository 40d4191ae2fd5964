from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.losses import elr_loss, elr_regularizer, elr_target, given_share, predicts_given, reweighted_labels

Z1 = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Z2 = torch.tensor([[2.5, 0.2, -1, 0.3], [0.5, 1, -0.5, 0], [-1, 3.5, 0, 1.5]])
Y = torch.tensor([0, 1, 3])


def _slow_target(row: list[float], logits: list[float], momentum: float, clamp: bool) -> list[float]:
    total = sum(math.exp(z) for z in logits)
    probs = [math.exp(z) / total for z in logits]
    if clamp:
        probs = [min(max(p, 1e-4), 1 - 1e-4) for p in probs]
        total = sum(probs)
        probs = [p / total for p in probs]
    return [momentum * t + (1 - momentum) * p for t, p in zip(row, probs, strict=True)]


def _slow_loss(row: list[float], logits: list[float], label: int, regularization: float) -> float:
    total = sum(math.exp(z) for z in logits)
    agreement = 0.0
    for t, z in zip(row, logits, strict=True):
        agreement += t * min(max(math.exp(z) / total, 1e-4), 1 - 1e-4)
    return -math.log(math.exp(logits[label]) / total) + regularization * math.log(1 - agreement)


@pytest.mark.parametrize(
    ("momentum", "regularization", "expected"),
    [(0.7, 3.0, [(-0.159864, 0.833846), (-0.337504, 0.042863)]), (0.9, 7.0, [(-0.050107, 0.962685), (-0.110374, 0.282760)])],
)
def test_values_of_two_calls(momentum: float, regularization: float, expected: list[tuple[float, float]]) -> None:
    rows = torch.zeros(3, 4)
    for logits, (regularizer, loss) in zip((Z1, Z2), expected, strict=True):
        rows = elr_target(rows, logits, momentum)
        assert float(elr_regularizer(logits, rows)) == pytest.approx(regularizer, abs=1e-6)
        assert float(elr_loss(logits, Y, rows, regularization)) == pytest.approx(loss, abs=2e-6)


def test_averages_after_two_calls() -> None:
    rows = elr_target(elr_target(torch.zeros(3, 4), Z1, 0.7), Z2, 0.7)
    expected = [
        [0.390811, 0.044413, 0.014723, 0.060053],
        [0.135301, 0.189016, 0.082961, 0.102722],
        [0.005945, 0.424902, 0.021649, 0.057504],
    ]
    torch.testing.assert_close(rows, torch.tensor(expected), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows.sum(1), torch.full((3,), 1 - 0.7**2))


def test_gradients_of_two_calls() -> None:
    expected = [
        [
            [-0.139915, 0.047299, 0.018169, 0.074447],
            [0.083333, -0.25, 0.083333, 0.083333],
            [0.008597, 0.227868, 0.037241, -0.273706],
        ],
        [
            [-0.144244, 0.060357, 0.019248, 0.064639],
            [0.096436, -0.203059, 0.041722, 0.064900],
            [0.008564, 0.207190, 0.022641, -0.238394],
        ],
    ]
    rows = torch.zeros(3, 4)
    for values, gradient in zip((Z1, Z2), expected, strict=True):
        logits = values.clone().requires_grad_()
        rows = elr_target(rows, logits, 0.7)
        assert not rows.requires_grad
        elr_loss(logits, Y, rows, 3.0).backward()
        torch.testing.assert_close(logits.grad, torch.tensor(gradient), rtol=0, atol=1e-6)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_agrees_with_a_slow_sum_also_where_it_clamps(scale: float, clamp: bool) -> None:
    logits, target = scale * torch.randn(30, 6, dtype=torch.float64), torch.randint(6, (30,))
    before = torch.rand(30, 6, dtype=torch.float64).softmax(1) * torch.rand(30, 1)
    rows = elr_target(before, logits, 0.6, clamp=clamp)
    slow = [_slow_target(t, z, 0.6, clamp) for t, z in zip(before.tolist(), logits.tolist(), strict=True)]
    torch.testing.assert_close(rows, torch.tensor(slow, dtype=torch.float64))
    losses = elr_loss(logits, target, rows, 2.5, reduction="none")
    labels = target.tolist()
    expected = [_slow_loss(t, z, y, 2.5) for t, z, y in zip(slow, logits.tolist(), labels, strict=True)]
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64))
    assert float(elr_loss(logits, target, rows, 2.5)) == pytest.approx(sum(expected) / 30)


def test_gradient_of_the_regularizer_is_the_papers_formula() -> None:
    logits, rows = torch.randn(8, 5, dtype=torch.float64, requires_grad=True), torch.rand(8, 5).double().softmax(1) * 0.9
    elr_regularizer(logits, rows, reduction="none").sum().backward()
    probs = logits.detach().softmax(1)
    agreement = (rows * probs).sum(1, keepdim=True)
    torch.testing.assert_close(logits.grad, probs * (agreement - rows) / (1 - agreement))


def test_float64_logits_are_differentiated_in_float64() -> None:
    rows = elr_target(torch.zeros(3, 4), Z1.double(), 0.7)
    logits = Z2.double().requires_grad_()
    assert rows.dtype == torch.float64
    assert torch.autograd.gradcheck(lambda z: elr_loss(z, Y, rows, 3.0), logits)
    assert torch.autograd.gradcheck(lambda z: elr_regularizer(z, rows, reduction="none"), logits)


@pytest.mark.parametrize(("classes", "floor"), [(10, -6.908655), (100, -4.615022)])
def test_floor_of_a_full_memory_that_agrees(classes: int, floor: float) -> None:
    logits = 100 * torch.eye(classes)[:1]
    rows = torch.zeros(1, classes)
    for _ in range(300):
        rows = elr_target(rows, logits, 0.7)
    assert float(elr_regularizer(logits, rows)) == pytest.approx(floor, abs=2e-3)  # 1 - 1e-4 has seven digits
    rows = torch.zeros(1, classes, dtype=torch.float64)
    for _ in range(300):
        rows = elr_target(rows, logits.double(), 0.7)
    assert float(elr_regularizer(logits.double(), rows)) == pytest.approx(floor, abs=1e-6)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sure_predictions_of_16_bit_logits_give_a_finite_float32_loss(dtype: torch.dtype, clamp: bool) -> None:
    logits = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 6e4]], dtype=dtype, requires_grad=True)
    rows = torch.zeros(2, 3)
    for _ in range(100):
        rows = elr_target(rows, logits, 0.7, clamp=clamp)
    losses = elr_loss(logits, torch.tensor([0, 2]), rows, 7.0, reduction="none")
    losses.sum().backward()
    assert rows.dtype == losses.dtype == torch.float32 and bool(losses.isfinite().all())
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
    assert float(elr_regularizer(logits[:1].detach(), rows[:1])) > -9.3, "log 1e-4, not log 0"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_logits_are_taken_at_their_float32_values(dtype: torch.dtype) -> None:
    logits, target, rows = torch.randn(20, 7).to(dtype), torch.randint(7, (20,)), torch.rand(20, 7).softmax(1)
    assert torch.equal(elr_target(rows, logits, 0.7), elr_target(rows, logits.float(), 0.7))
    losses = elr_loss(logits, target, rows, reduction="none")
    assert torch.equal(losses, elr_loss(logits.float(), target, rows, reduction="none"))


def test_regularizer_falls_as_prediction_and_average_agree() -> None:
    rows = torch.tensor([[0.8, 0.1, 0.05]])
    values = [float(elr_regularizer(torch.tensor([[z, 0.0, 0.0]]), rows)) for z in (-4.0, -1.0, 0.0, 1.0, 4.0)]
    assert values == sorted(values, reverse=True) and values[0] < 0


def test_inputs_are_left_alone_and_the_average_has_no_gradient() -> None:
    rows, logits = torch.rand(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    kept = rows.detach().clone()
    new = elr_target(rows, logits, 0.7)
    assert not new.requires_grad and torch.equal(rows, kept)
    elr_regularizer(logits, rows / 4).backward()
    assert rows.grad is None and logits.grad is not None


# ---- reweighted labels

MIXED = torch.tensor([[0.75, 0.25, 0, 0], [0, 0.75, 0, 0.25], [0.25, 0, 0, 0.75]])


def test_labels_reweighted_by_mixed_averages() -> None:
    rows = elr_target(torch.zeros(3, 4), Z1, 0.7, clamp=False)
    mixed = 0.75 * rows + 0.25 * rows[[1, 2, 0]]
    expected = [[0.929901, 0.070099, 0, 0], [0, 0.844774, 0, 0.155226], [0.340575, 0, 0, 0.659425]]
    torch.testing.assert_close(reweighted_labels(MIXED, mixed), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("small", [0.0, 1e-44])
def test_labels_without_any_average_stay_as_they_are(small: float) -> None:
    rows = torch.tensor([[small, small, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4], [small] * 4])
    found = reweighted_labels(MIXED, rows)
    assert torch.equal(found[[0, 2]], MIXED[[0, 2]])
    torch.testing.assert_close(found[1], torch.tensor([0.0, 0.6, 0.0, 0.4]))
    torch.testing.assert_close(found.sum(1), torch.ones(3))


def test_small_averages_are_still_used() -> None:
    found = reweighted_labels(MIXED[:1], torch.tensor([[2e-30, 6e-30, 0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 0.0, 0.0]]))


# ---- what the averages say of the labels


def test_share_at_the_given_label() -> None:
    table = torch.tensor([[0.3, 0.1], [0.02, 0.06], [0.0, 0.0], [0.5, 0.5], [1e-40, 0.0]])
    shares = given_share(table, torch.tensor([0, 0, 0, -1, 0]))
    torch.testing.assert_close(shares, torch.tensor([0.75, 0.25, 0.0, 0.0, 1.0]))


def test_share_stays_in_the_unit_interval() -> None:
    table = torch.rand(2000, 10) ** 20
    table[:1000, 0] = 1.0
    table[::3, 1:] *= 1e-8
    shares = given_share(table, torch.randint(10, (2000,)))
    assert bool(((shares >= 0) & (shares <= 1)).all())


def test_largest_average_at_the_given_label() -> None:
    table = torch.tensor([[0.3, 0.1], [0.02, 0.06], [0.0, 0.0], [0.5, 0.5], [0.4, 0.5]])
    given: Tensor = torch.tensor([0, 0, 0, -1, 1])
    assert predicts_given(table, given).tolist() == [True, False, False, False, True]
