"""Peer loss and f-divergences: losses of samples and of inputs with labels that are not theirs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from noisylab.losses import f_divergence, peer_loss, peer_weight, shifted_cross_entropy

Z = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Y = torch.tensor([0, 1, 3])
Z_R, Y_S = Z[[1, 2, 0]], Y[[2, 0, 1]]


def _slow_prob(logits: list[float], label: int) -> float:
    return 1 / sum(math.exp(z - logits[label]) for z in logits)


def _slow_probs(logits: Tensor, target: Tensor) -> list[float]:
    return [_slow_prob(row, label) for row, label in zip(logits.tolist(), target.tolist(), strict=True)]


# ---- peer loss


def test_values_of_peer_loss() -> None:
    assert float(shifted_cross_entropy(Z, Y)) == pytest.approx(1.313388, abs=1e-6)
    assert float(shifted_cross_entropy(Z_R, Y_S)) == pytest.approx(2.646498, abs=1e-6)
    assert float(peer_loss(Z, Y, Z_R, Y_S, weight=1.0)) == pytest.approx(-1.333109, abs=2e-6)


@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_peer_loss_agrees_with_a_slow_sum(scale: float) -> None:
    logits, others = (scale * torch.randn(20, 5, dtype=torch.float64) for _ in range(2))
    target, labels = (torch.randint(5, (20,)) for _ in range(2))
    own = [-math.log(p + 1e-5) for p in _slow_probs(logits, target)]
    peer = [-math.log(p + 1e-5) for p in _slow_probs(others, labels)]
    expected = torch.tensor([a - 3 * b for a, b in zip(own, peer, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(peer_loss(logits, target, others, labels, weight=3.0, reduction="none"), expected)
    torch.testing.assert_close(peer_loss(logits, target, others, labels, weight=3.0), expected.mean())


def test_parts_of_peer_loss_may_have_different_sizes() -> None:
    expected = shifted_cross_entropy(Z, Y) - 0.5 * shifted_cross_entropy(Z_R[:2], Y_S[:2])
    torch.testing.assert_close(peer_loss(Z, Y, Z_R[:2], Y_S[:2], weight=0.5), expected)


def test_peer_loss_of_one_constant_prediction_is_zero_when_labels_are_the_same() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0]]).expand(3, 3)
    assert float(peer_loss(logits, torch.arange(3), logits, torch.tensor([2, 0, 1]), weight=1.0)) == pytest.approx(0, abs=1e-6)


def test_weights_of_the_benchmark() -> None:
    table = [0.0] * 20
    for low, high, length in ((0, 1, 20), (1, 2, 50), (2, 5, 50), (5, 10, 100), (10, 20, 100)):
        table += torch.linspace(low, high, length, dtype=torch.float64).tolist()
    assert [peer_weight(epoch) for epoch in range(len(table))] == pytest.approx(table)
    assert peer_weight(39) == 1 and peer_weight(49) == pytest.approx(1.18367, abs=1e-5) and peer_weight(89) == 2
    assert peer_weight(len(table)) == peer_weight(10_000) == 20


# ---- f-divergences

SLOW: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "total_variation": (lambda v: math.tanh(v) / 2, lambda t: t),
    "kl": (lambda v: v, lambda t: math.exp(t - 1)),
    "jensen_shannon": (lambda v: math.log(2 / (1 + math.exp(-v))), lambda t: -math.log(2 - math.exp(t))),
    "pearson": (lambda v: v, lambda t: t**2 / 4 + t),
}
F: dict[str, Callable[[Tensor], Tensor]] = {
    "total_variation": lambda u: (u - 1).abs() / 2,
    "kl": lambda u: u * u.log(),
    "jensen_shannon": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "pearson": lambda u: (u - 1) ** 2,
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_f_divergence_agrees_with_a_slow_sum(scale: float, name: str) -> None:
    logits, others = (scale * torch.randn(20, 5, dtype=torch.float64) for _ in range(2))
    target, labels = (torch.randint(5, (20,)) for _ in range(2))
    g, conjugate = SLOW[name]
    pairs = zip(_slow_probs(logits, target), _slow_probs(others, labels), strict=True)
    expected = torch.tensor([conjugate(g(second)) - g(first) for first, second in pairs], dtype=torch.float64)
    found = f_divergence(logits, target, others, labels, divergence=name, reduction="none")  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected)
    mean = f_divergence(logits, target, others, labels, divergence=name)  # type: ignore[arg-type]
    torch.testing.assert_close(mean, expected.mean())


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_the_second_part_is_the_convex_conjugate_of_f(prob: float, name: str) -> None:
    g, conjugate = SLOW[name]
    u = torch.linspace(1e-6, 5, 500_001, dtype=torch.float64)
    supremum = float((u * g(prob) - F[name](u)).max())
    assert conjugate(g(prob)) == pytest.approx(supremum, abs=1e-4)


@pytest.mark.parametrize("name", SLOW)
def test_pairs_that_fit_no_worse_than_the_samples_raise_the_loss(name: str) -> None:
    apart = f_divergence(Z * 5, Z.argmax(1), Z * 5, Z.argmin(1), divergence=name)  # type: ignore[arg-type]
    same = f_divergence(Z * 5, Z.argmax(1), Z * 5, Z.argmax(1), divergence=name)  # type: ignore[arg-type]
    assert float(apart) < float(same)
