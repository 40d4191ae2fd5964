from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from noisylab.losses import cross_entropy, gce, mae, rce, sce, truncated_gce

Z = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Y = torch.tensor([0, 1, 3])


def _slow_prob(logits: list[float], label: int) -> float:
    total = sum(math.exp(z - logits[label]) for z in logits)
    return 1 / total


def _slow(loss: Callable[[float], float], logits: Tensor, target: Tensor) -> Tensor:
    pairs = zip(logits.tolist(), target.tolist(), strict=True)
    return torch.tensor([loss(_slow_prob(row, label)) for row, label in pairs], dtype=torch.float64)


def _slow_gce(p: float, q: float) -> float:
    return (1 - max(p, 1e-7) ** q) / q


def _slow_rce(p: float) -> float:
    return -math.log(1e-4) * (1 - max(p, 1e-7))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (gce, [0.304418, 0.887244, 1.124804]),
        (rce, [2.670078, 6.907755, 8.201643]),
        (partial(truncated_gce, kept=torch.tensor([True, False, False])), [0.304418 - 0.549183, 0, 0]),
    ],
)
def test_values_of_single_samples(loss: Callable[..., Tensor], expected: list[float]) -> None:
    torch.testing.assert_close(loss(Z, Y, reduction="none"), torch.tensor(expected), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (gce, 0.772155),
        (mae, 1.286921),
        (partial(mae, form="reduced"), 0.643461),
        (rce, 5.926492),
        (partial(sce, alpha=0.1, beta=1.0), 6.057836),
        (partial(sce, alpha=6.0, beta=0.1), 8.473270),
        (partial(truncated_gce, kept=torch.tensor([True, False, False])), -0.0815882),
    ],
)
def test_mean_values(loss: Callable[..., Tensor], expected: float) -> None:
    assert float(loss(Z, Y)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "slow"),
    [
        (partial(gce, q=0.7), lambda p: _slow_gce(p, 0.7)),
        (partial(gce, q=0.05), lambda p: _slow_gce(p, 0.05)),
        (mae, lambda p: 2 * (1 - p)),
        (partial(mae, form="reduced"), lambda p: 1 - p),
        (rce, _slow_rce),
        (partial(sce, alpha=0.3, beta=2.0), lambda p: -0.3 * math.log(p) + 2 * _slow_rce(p)),
        (partial(truncated_gce, q=0.4, k=0.2), lambda p: _slow_gce(p, 0.4) - (1 - 0.2**0.4) / 0.4),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_agrees_with_a_slow_sum_also_where_it_clamps(
    scale: float, loss: Callable[..., Tensor], slow: Callable[[float], float]
) -> None:
    logits, target = scale * torch.randn(40, 6, dtype=torch.float64), torch.randint(6, (40,))
    expected = _slow(slow, logits, target)
    torch.testing.assert_close(loss(logits, target, reduction="none"), expected)
    torch.testing.assert_close(loss(logits, target), expected.mean())


def test_mae_is_the_distance_to_the_label() -> None:
    logits, target = torch.randn(9, 5, dtype=torch.float64), torch.randint(5, (9,))
    torch.testing.assert_close(mae(logits, target, reduction="none"), (logits.softmax(1) - torch.eye(5)[target]).abs().sum(1))


def test_gce_lies_between_cross_entropy_and_mae() -> None:
    logits, target = torch.randn(20, 5, dtype=torch.float64), torch.randint(5, (20,))
    torch.testing.assert_close(gce(logits, target, q=1e-9), cross_entropy(logits, target), rtol=0, atol=1e-6)
    torch.testing.assert_close(gce(logits, target, q=1.0), mae(logits, target, form="reduced"))


def test_gradient_of_gce_is_the_papers_formula() -> None:
    logits, target = torch.randn(8, 5, dtype=torch.float64, requires_grad=True), torch.randint(5, (8,))
    gce(logits, target, q=0.7, reduction="none").sum().backward()
    probs = logits.detach().softmax(1)
    given = probs.gather(1, target[:, None])
    torch.testing.assert_close(logits.grad, given**0.7 * (probs - torch.eye(5)[target]))


def test_a_sample_left_out_has_no_loss_and_no_gradient() -> None:
    logits = Z.clone().requires_grad_()
    truncated_gce(logits, Y, torch.tensor([True, False, True])).backward()
    assert logits.grad is not None and not bool(logits.grad[1].any()) and bool(logits.grad[[0, 2]].any(1).all())
    assert truncated_gce(Z, Y, torch.zeros(3, dtype=torch.bool), reduction="none").tolist() == [0, 0, 0]


def test_the_truncation_level_is_where_the_loss_changes_its_sign() -> None:
    logits = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    assert float(truncated_gce(logits, torch.tensor([0]), k=0.5)) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gce_of_a_probability_of_zero_has_a_finite_gradient(dtype: torch.dtype) -> None:
    logits = torch.tensor([[-3e4, 3e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = gce(logits, torch.tensor([0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 - 1e-7**0.7) / 0.7, abs=1e-6)
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
