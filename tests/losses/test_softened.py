from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.losses import bootstrap, cross_entropy, gls, soft_cross_entropy

Z = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Y = torch.tensor([0, 1, 3])


def _slow_log_probs(logits: Tensor) -> list[list[float]]:
    rows: list[list[float]] = logits.tolist()
    return [[z - math.log(sum(math.exp(other) for other in row)) for z in row] for row in rows]


@pytest.mark.parametrize(("rate", "expected"), [(0.1, 1.371770), (-0.2, 1.196770), (0.0, 1.313437)])
def test_values_of_smoothing_of_either_sign(rate: float, expected: float) -> None:
    assert float(gls(Z, Y, rate=rate)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rate", [-3.0, -0.2, 0.0, 0.4])
def test_smoothing_agrees_with_a_slow_sum(rate: float) -> None:
    logits, target = 3 * torch.randn(25, 6, dtype=torch.float64), torch.randint(6, (25,))
    expected = []
    for row, label in zip(_slow_log_probs(logits), target.tolist(), strict=True):
        expected.append(sum(-((1 - rate) * (c == label) + rate / 6) * value for c, value in enumerate(row)))
    torch.testing.assert_close(gls(logits, target, rate=rate, reduction="none"), torch.tensor(expected, dtype=torch.float64))


def test_smoothing_with_a_positive_rate_is_label_smoothing() -> None:
    logits, target = torch.randn(25, 6, dtype=torch.float64), torch.randint(6, (25,))
    torch.testing.assert_close(gls(logits, target, rate=0.3), cross_entropy(logits, target, smoothing=0.3))


@pytest.mark.parametrize(("kind", "beta", "expected"), [("hard", 0.8, 1.180104), ("soft", 0.95, 1.296442)])
def test_values_of_bootstrapping(kind: str, beta: float, expected: float) -> None:
    assert float(bootstrap(Z, Y, kind=kind, beta=beta)) == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_bootstrapping_agrees_with_a_slow_sum(kind: str) -> None:
    logits, target = 3 * torch.randn(25, 6, dtype=torch.float64), torch.randint(6, (25,))
    expected = []
    for row, label in zip(_slow_log_probs(logits), target.tolist(), strict=True):
        own = max(row) if kind == "hard" else sum(math.exp(value) * value for value in row)
        expected.append(-0.7 * row[label] - 0.3 * own)
    found = bootstrap(logits, target, kind=kind, beta=0.7, reduction="none")  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_detached_soft_target_is_a_constant_label() -> None:
    logits, target = torch.randn(9, 4, dtype=torch.float64, requires_grad=True), torch.randint(4, (9,))
    bootstrap(logits, target, kind="soft", beta=0.6).backward()
    again = logits.detach().clone().requires_grad_()
    label = 0.6 * torch.eye(4, dtype=torch.float64)[target] + 0.4 * logits.detach().softmax(1)
    soft_cross_entropy(again, label).backward()
    torch.testing.assert_close(logits.grad, again.grad)


def test_an_attached_soft_target_adds_the_entropys_gradient() -> None:
    logits, target = torch.randn(9, 4, dtype=torch.float64, requires_grad=True), torch.randint(4, (9,))
    bootstrap(logits, target, kind="soft", beta=0.0, detach=False).backward()
    probs = logits.detach().softmax(1)
    entropy = -(probs * probs.log()).sum(1, keepdim=True)
    torch.testing.assert_close(logits.grad, -probs * (probs.log() + entropy) / 9)
