from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.losses import ActivePassive, Focal, active_passive, focal, normalized

Z = torch.tensor([[2.0, 0, -1, 0.5], [0, 0, 0, 0], [-1, 3, 0.5, 1]])
Y = torch.tensor([0, 1, 3])


def _slow_losses(logits: list[float], base: str, exponent: float) -> list[float]:
    """The loss for each label that the sample could have."""
    total = sum(math.exp(z) for z in logits)
    probs = [math.exp(z) / total for z in logits]
    if base == "ce":
        return [-math.log(p) for p in probs]
    if base == "gce":
        return [(1 - max(p, 1e-7) ** exponent) / exponent for p in probs]
    return [-((1 - p) ** exponent) * math.log(p) for p in probs]


def _slow(logits: Tensor, target: Tensor, base: str, exponent: float) -> Tensor:
    found = []
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        losses = _slow_losses(row, base, exponent)
        found.append(losses[label] / sum(losses))
    return torch.tensor(found, dtype=torch.float64)


def test_values_of_normalized_cross_entropy() -> None:
    losses = normalized(Z, Y, reduction="none")
    torch.testing.assert_close(losses, torch.tensor([0.043504, 0.25, 0.236626]), rtol=0, atol=1e-6)
    assert float(normalized(Z, Y)) == pytest.approx(0.176710, abs=1e-6)


@pytest.mark.parametrize(("alpha", "beta", "expected"), [(1.0, 1.0, 6.103203), (10.0, 0.1, 2.359750)])
def test_values_with_reverse_cross_entropy(alpha: float, beta: float, expected: float) -> None:
    assert float(active_passive(Z, Y, alpha=alpha, beta=beta)) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize(("base", "exponent"), [("ce", 0.0), ("gce", 0.7), ("gce", 0.3), ("focal", 0.5), ("focal", 2.0)])
def test_agrees_with_a_slow_sum(base: str, exponent: float, scale: float) -> None:
    logits, target = scale * torch.randn(30, 6, dtype=torch.float64), torch.randint(6, (30,))
    named = {"gce": {"q": exponent}, "focal": {"gamma": exponent}}.get(base, {})
    losses = normalized(logits, target, base=base, reduction="none", **named)  # type: ignore[arg-type]
    torch.testing.assert_close(losses, _slow(logits, target, base, exponent))


@pytest.mark.parametrize("passive", ["rce", "mae"])
@pytest.mark.parametrize("active", ["ce", "focal", "gce"])
def test_combinations_are_weighted_sums(active: str, passive: str) -> None:
    logits, target = torch.randn(30, 6, dtype=torch.float64), torch.randint(6, (30,))
    first = _slow(logits, target, active, {"gce": 0.4}.get(active, 1.5))
    rest = 1 - logits.softmax(1).gather(1, target[:, None])[:, 0]
    expected = 3 * first + 0.2 * rest * (-math.log(1e-4) if passive == "rce" else 1)
    found = active_passive(
        logits,
        target,
        active=active,  # type: ignore[arg-type]
        passive=passive,  # type: ignore[arg-type]
        alpha=3.0,
        beta=0.2,
        q=0.4,
        gamma=1.5,
        reduction="none",
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_agrees_with_a_slow_sum(gamma: float) -> None:
    logits, target = 4 * torch.randn(30, 6, dtype=torch.float64), torch.randint(6, (30,))
    rows = zip(logits.tolist(), target.tolist(), strict=True)
    expected = torch.tensor([_slow_losses(row, "focal", gamma)[label] for row, label in rows], dtype=torch.float64)
    torch.testing.assert_close(focal(logits, target, gamma=gamma, reduction="none"), expected)


@pytest.mark.parametrize("base", ["ce", "focal", "gce"])
def test_normalized_losses_of_all_labels_sum_to_one(base: str) -> None:
    logits = 3 * torch.randn(1, 5, dtype=torch.float64).expand(5, 5)
    losses = normalized(logits, torch.arange(5), base=base, reduction="none")  # type: ignore[arg-type]
    assert float(losses.sum()) == pytest.approx(1) and bool((losses >= 0).all())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_a_sure_and_right_prediction_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[300.0, 0.0, 0.0], [0.0, 300.0, 0.0]], requires_grad=True)
    target = torch.tensor([0, 1])
    loss = focal(logits, target, gamma=gamma) + normalized(logits, target, base="focal", gamma=gamma)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def _gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_detached_factor_leaves_the_value_and_weights_the_gradient_of_cross_entropy(gamma: float) -> None:
    logits, target = (2 * torch.randn(30, 6, dtype=torch.float64)).requires_grad_(), torch.randint(6, (30,))
    attached = focal(logits, target, gamma=gamma, reduction="none")
    detached = focal(logits, target, gamma=gamma, detach_factor=True, reduction="none")
    assert torch.equal(attached, detached)
    probs = logits.detach().softmax(1)
    factor = (1 - probs.gather(1, target[:, None])) ** gamma
    expected = factor * (probs - torch.nn.functional.one_hot(target, 6))
    torch.testing.assert_close(_gradient(detached, logits), expected)
    assert not torch.allclose(_gradient(attached, logits), expected, rtol=0.1)
    assert torch.autograd.gradcheck(lambda z: focal(z, target, gamma=gamma, reduction="none"), (logits,))


def test_detached_factors_of_the_normalized_focal_loss_are_constants_above_and_below_the_line() -> None:
    logits, target = torch.randn(30, 6, dtype=torch.float64).requires_grad_(), torch.randint(6, (30,))
    detached = normalized(logits, target, base="focal", detach_factor=True, reduction="none")
    attached = normalized(logits, target, base="focal", reduction="none")
    assert torch.equal(attached, detached)
    # d (a / b) = (da - (a / b) db) / b with a = -f_y log p_y, b = -sum_c f_c log p_c and constant f
    probs = logits.detach().softmax(1)
    factors, log_probs = (1 - probs) ** 0.5, logits.detach().log_softmax(1)
    slopes = torch.eye(6, dtype=torch.float64) - probs[:, None, :]  # (B, c, k): derivative of log p_c to z_k
    each = -factors[..., None] * slopes
    own = each[torch.arange(30), target]
    below = -(factors * log_probs).sum(1, keepdim=True)
    expected = (own - detached.detach()[:, None] * each.sum(1)) / below
    torch.testing.assert_close(_gradient(detached, logits), expected)
    assert not torch.allclose(_gradient(attached, logits), expected, rtol=0.1)
    assert torch.autograd.gradcheck(lambda z: normalized(z, target, base="focal", reduction="none"), (logits,))


def test_criteria_pass_the_detached_factor_on() -> None:
    logits, target = torch.randn(8, 4, dtype=torch.float64).requires_grad_(), torch.randint(4, (8,))
    for made, value in (
        (Focal(detach_factor=True), focal(logits, target, detach_factor=True)),
        (ActivePassive("focal", beta=0, detach_factor=True), normalized(logits, target, base="focal", detach_factor=True)),
    ):
        torch.testing.assert_close(_gradient(made(logits, target).mean(), logits), _gradient(value, logits))


def test_defaults_are_the_reference_values_for_cifar10() -> None:
    made = ActivePassive()
    assert (made.active, made.passive, made.alpha, made.beta, made.q, made.gamma) == ("ce", "rce", 1.0, 1.0, 0.1, 0.5)
    torch.testing.assert_close(normalized(Z, Y, base="gce"), normalized(Z, Y, base="gce", q=0.1))
    torch.testing.assert_close(active_passive(Z, Y, active="gce"), active_passive(Z, Y, active="gce", q=0.1))
