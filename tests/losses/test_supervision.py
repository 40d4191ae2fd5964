from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from noisylab.losses import co_guess, consistency, logit_norm, pseudo_labels

Z1 = torch.tensor([[2.0, 0, -1], [0.5, 1, 0]], dtype=torch.float64)
Z2 = torch.tensor([[1.0, 0.5, -0.5], [0, 2, 0]], dtype=torch.float64)
W = torch.tensor([0.3, 0.0], dtype=torch.float64), torch.tensor([0.1, 0.0], dtype=torch.float64)


def _near(found: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=0, atol=6e-5)


def test_normalized_logits_have_one_scale_for_the_block() -> None:
    found = logit_norm(Z1)
    _near(found, [[1.9596, 0, -0.9798], [0.4899, 0.9798, 0]])
    assert found.square().mean().item() == pytest.approx(1, abs=2e-8)
    torch.testing.assert_close(logit_norm(Z1, torch.tensor(4.0)), Z1 / 2, rtol=1e-8, atol=0)
    assert not bool(logit_norm(torch.zeros(2, 3)).any()), "the floor of 1e-8, not 0 / 0"


def test_gradient_flows_through_the_scale() -> None:
    z = Z1.clone().requires_grad_()
    assert torch.autograd.gradcheck(logit_norm, z)
    z0 = torch.full((2, 3), 1e-3, dtype=torch.float64)  # where the floor counts
    torch.testing.assert_close(logit_norm(z0), z0 / math.sqrt(1e-6 + 1e-8))


def test_pseudo_labels_of_two_views() -> None:
    normalized = [logit_norm(Z1), logit_norm(Z2)]
    _near(pseudo_labels(normalized, 1.0), [[0.6963, 0.2236, 0.0801], [0.2037, 0.6523, 0.1440]])
    _near(pseudo_labels(normalized, 0.5), [[0.8958, 0.0924, 0.0118], [0.0851, 0.8724, 0.0425]])
    one = logit_norm(Z1).softmax(1).square()
    torch.testing.assert_close(pseudo_labels(normalized[:1], 0.5), one / one.sum(1, keepdim=True))


def test_pseudo_labels_have_no_gradient() -> None:
    z = Z1.clone().requires_grad_()
    assert not pseudo_labels([logit_norm(z)], 0.5).requires_grad
    assert not co_guess([logit_norm(z)], [logit_norm(z)], W, 0.5).requires_grad


def test_consistency_of_the_raw_logits() -> None:
    found = consistency(Z1, Z2)
    assert found.mean().item() == pytest.approx(0.20318466744309854, rel=1e-14)
    for row in range(2):
        p, q = Z1[row].softmax(0).tolist(), Z2[row].softmax(0).tolist()
        assert found[row].item() == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert bool((consistency(Z1, Z1).abs() < 1e-15).all())


def test_consistency_moves_the_second_view_alone() -> None:
    first, second = Z1.clone().requires_grad_(), Z2.clone().requires_grad_()
    consistency(first, second).sum().backward()
    assert first.grad is None and second.grad is not None
    torch.testing.assert_close(second.grad, Z2.softmax(1) - Z1.softmax(1))


def test_a_guess_trusts_each_network_by_its_weight() -> None:
    first, second = [logit_norm(Z1)], [logit_norm(Z2)]
    _near(co_guess(first, second, W, 1.0), [[0.6575, 0.2146, 0.1279], [0.2666, 0.5022, 0.2312]])
    _near(co_guess(first, second, W, 0.5), [[0.8738, 0.0931, 0.0331], [0.1887, 0.6694, 0.1418]])
    _near(co_guess(first, second, W, 0.5, inner_scale=False), [[0.9468, 0.0470, 0.0062], [0.0851, 0.8724, 0.0425]])


def test_a_guess_averages_the_views_of_each_network_first() -> None:
    views = [logit_norm(Z1), logit_norm(Z1.flip(1))], [logit_norm(Z2), logit_norm(Z2.flip(0))]
    expected = []
    for i, rho in enumerate((0.75, 0.5)):
        parts = [
            r * torch.stack([(r * z[i]).softmax(0) for z in pair]).mean(0) for r, pair in zip((rho, 1 - rho), views, strict=True)
        ]
        squares = (parts[0] + parts[1]).square()
        expected.append(squares / squares.sum())
    torch.testing.assert_close(co_guess(*views, W, 0.5), torch.stack(expected))


def test_a_guess_leaves_the_weights_as_they_are() -> None:
    given = tuple(w.clone() for w in W)
    co_guess([logit_norm(Z1)], [logit_norm(Z2)], given, 0.5)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(given, W, strict=True))


def test_networks_that_give_no_weight_are_trusted_alike() -> None:
    none = torch.zeros(2, dtype=torch.float64)
    found = co_guess([logit_norm(Z1)], [logit_norm(Z2)], (none, none), 0.5)
    half = 0.5 * (logit_norm(Z1) / 2).softmax(1) + 0.5 * (logit_norm(Z2) / 2).softmax(1)
    torch.testing.assert_close(found, half.square() / half.square().sum(1, keepdim=True))


def test_a_network_that_alone_gives_weight_is_trusted_alone() -> None:
    weights = torch.tensor([1e-30, 0.2], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    found = co_guess([logit_norm(Z1)], [logit_norm(Z2)], weights, 0.5)
    torch.testing.assert_close(found, pseudo_labels([logit_norm(Z1)], 0.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_are_widened_before_anything_is_squared(dtype: torch.dtype) -> None:
    large = (1000 * Z1).to(dtype)
    scaled = logit_norm(large)
    assert scaled.dtype == torch.float32 and bool(scaled.isfinite().all())
    torch.testing.assert_close(scaled, logit_norm(large.float()))
    assert pseudo_labels([large], 0.5).dtype == torch.float32
    assert consistency(large, large).dtype == torch.float32


def test_labels_and_consistency_read_nothing_back() -> None:
    with FakeTensorMode():
        z, w = torch.zeros(4, 3, requires_grad=True), torch.zeros(4)
        assert co_guess([logit_norm(z)], [logit_norm(z)], (w, w), 0.5).shape == (4, 3)
        assert pseudo_labels([logit_norm(z)], 0.5).shape == (4, 3)
        consistency(z, logit_norm(z)).mean().backward()
