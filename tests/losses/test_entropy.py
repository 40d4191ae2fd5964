from __future__ import annotations

import math

import pytest
import torch

from noisylab.losses import negative_entropy

Z = torch.tensor([[2.0, -1.0, 0.5], [-3.0, -2.0, -1.0]])


def test_values_with_and_without_the_clamp_on_logits() -> None:
    assert float(negative_entropy(Z, clamp_logits=True)) == pytest.approx(-0.925296, abs=1e-6)
    assert float(negative_entropy(Z)) == pytest.approx(-0.726990, abs=1e-6)


def test_negative_logits_have_no_gradient_under_the_clamp() -> None:
    logits = Z.clone().requires_grad_()
    negative_entropy(logits, clamp_logits=True).backward()
    expected = torch.tensor([[0.164018, 0.0, -0.086591], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-6)


def test_values_of_single_samples() -> None:
    values = negative_entropy(Z, clamp_logits=True, reduction="none")
    assert values.shape == (2,)
    assert float(values[1]) == pytest.approx(-math.log(3), abs=1e-6)
    assert float(values.mean()) == pytest.approx(-0.925296, abs=1e-6)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_logits_stay_finite_and_within_bounds(dtype: torch.dtype, clamp: bool) -> None:
    logits = torch.tensor([[6e4, -6e4, 0.0, 1.0], [-6e4, -6e4, -6e4, -6e4]], dtype=dtype, requires_grad=True)
    values = negative_entropy(logits, clamp_logits=clamp, reduction="none")
    values.sum().backward()
    assert bool((values <= 0).all()) and bool((values >= -math.log(4) - 1e-6).all())
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("clamp", [False, True])
def test_float64_logits_are_differentiated_in_float64(clamp: bool) -> None:
    logits = Z.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: negative_entropy(z, clamp_logits=clamp), logits)
    assert negative_entropy(logits).dtype == torch.float64


def test_16_bit_logits_are_taken_at_their_float32_values() -> None:
    values = negative_entropy(Z.bfloat16(), reduction="none")
    assert values.dtype == torch.float32 and torch.equal(values, negative_entropy(Z.bfloat16().float(), reduction="none"))
