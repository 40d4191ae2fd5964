from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.losses import cross_entropy, soft_cross_entropy

A = torch.tensor([[2.0, 0.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0], [-1.0, 3.0, 0.5, 1.0]])
Y = torch.tensor([0, 1, 3])


def _slow(logits: Tensor, target: Tensor, smoothing: float, convention: str) -> list[float]:
    losses = []
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        classes = len(row)
        total = math.log(sum(math.exp(z) for z in row))
        loss = 0.0
        for c, z in enumerate(row):
            if convention == "torch":
                share = smoothing / classes + (1 - smoothing if c == label else 0)
            else:
                share = 1 - smoothing if c == label else smoothing / (classes - 1)
            loss -= share * (z - total)
        losses.append(loss)
    return losses


def test_values_without_smoothing() -> None:
    losses = cross_entropy(A, Y, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([0.342350, 1.386294, 2.211667]), rtol=0, atol=1e-5)
    assert float(cross_entropy(A, Y)) == pytest.approx(1.313437, abs=1e-5)


@pytest.mark.parametrize(
    ("smoothing", "convention", "expected"), [(0.1, "torch", 1.371770), (0.35, "torch", 1.517604), (0.1, "others", 1.391215)]
)
def test_values_with_smoothing(smoothing: float, convention: str, expected: float) -> None:
    loss = cross_entropy(A, Y, smoothing=smoothing, convention=convention)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("convention", ["torch", "others"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_agrees_with_a_slow_sum(smoothing: float, convention: str) -> None:
    logits, target = torch.randn(20, 7), torch.randint(7, (20,))
    losses = cross_entropy(logits, target, smoothing=smoothing, convention=convention, reduction="none")  # type: ignore[arg-type]
    expected = torch.tensor(_slow(logits, target, smoothing, convention))
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)


def test_mixed_loss_is_that_of_the_mixed_labels() -> None:
    other = torch.tensor([3, 0, 1])
    mixed = 0.7 * cross_entropy(A, Y) + 0.3 * cross_entropy(A, other)
    labels = 0.7 * torch.eye(4)[Y] + 0.3 * torch.eye(4)[other]
    assert float(mixed) == pytest.approx(1.263437, abs=1e-5)
    assert float(soft_cross_entropy(A, labels)) == pytest.approx(1.263437, abs=1e-5)


def test_soft_loss_of_one_hot_labels_is_the_hard_one() -> None:
    losses = soft_cross_entropy(A, torch.eye(4)[Y], reduction="none")
    torch.testing.assert_close(losses, cross_entropy(A, Y, reduction="none"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("convention", ["torch", "others"])
def test_gradient_is_the_softmax_less_the_label(convention: str) -> None:
    logits = A.clone().requires_grad_()
    cross_entropy(logits, Y, smoothing=0.3, convention=convention).backward()  # type: ignore[arg-type]
    label = torch.eye(4)[Y]
    smooth = 0.7 * label + 0.3 * (torch.full((3, 4), 0.25) if convention == "torch" else (1 - label) / 3)
    torch.testing.assert_close(logits.grad, (A.softmax(1) - smooth) / 3, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("convention", ["torch", "others"])
def test_large_logits_give_a_finite_float32_loss(dtype: torch.dtype, convention: str) -> None:
    logits = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 6e4]], dtype=dtype, requires_grad=True)
    target = torch.tensor([1, 0])
    losses = cross_entropy(logits, target, smoothing=0.1, convention=convention, reduction="none")  # type: ignore[arg-type]
    losses.sum().backward()
    assert losses.dtype == torch.float32 and bool(losses.isfinite().all())
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_loss_is_never_negative_and_the_input_is_left_alone() -> None:
    logits = torch.randn(50, 4) * 20
    kept = logits.clone()
    losses = cross_entropy(logits, torch.randint(4, (50,)), reduction="none")
    assert bool((losses >= 0).all()) and torch.equal(logits, kept)


@pytest.mark.parametrize("convention", ["torch", "others"])
def test_float64_logits_are_differentiated_in_float64(convention: str) -> None:
    logits = A.double().requires_grad_()
    soft = torch.full((3, 4), 0.25)
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, Y, smoothing=0.1, convention=convention), logits)  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda z: soft_cross_entropy(z, soft), logits)
    assert soft_cross_entropy(logits, soft).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_loss_of_16_bit_logits_is_that_of_their_float32_values(dtype: torch.dtype) -> None:
    logits, probs = torch.randn(20, 7).to(dtype), torch.rand(20, 7).softmax(1)
    losses = soft_cross_entropy(logits, probs, reduction="none")
    assert losses.dtype == torch.float32
    assert torch.equal(losses, soft_cross_entropy(logits.float(), probs, reduction="none"))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_no_loss_follows_torchs_default_type(reduction: str) -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        losses = cross_entropy(A, Y, smoothing=0.1, reduction=reduction), soft_cross_entropy(A, A.softmax(1), reduction=reduction)  # type: ignore[arg-type]
    finally:
        torch.set_default_dtype(torch.float32)
    expected = cross_entropy(A, Y, smoothing=0.1, reduction=reduction), soft_cross_entropy(A, A.softmax(1), reduction=reduction)  # type: ignore[arg-type]
    assert all(torch.equal(*pair) for pair in zip(losses, expected, strict=True))
