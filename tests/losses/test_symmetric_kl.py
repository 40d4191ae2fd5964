from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from noisylab.losses import symmetric_kl

Z1 = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 1, 0]])
Z2 = torch.tensor([[0.0, 0, 0], [0, 2, 0], [0, 1, 0], [3, 0, 0]])


def test_agrees_with_two_divergences() -> None:
    slow = [
        float(
            F.kl_div(a.log_softmax(0), b.softmax(0), reduction="sum") + F.kl_div(b.log_softmax(0), a.softmax(0), reduction="sum")
        )
        for a, b in zip(Z1, Z2, strict=True)
    ]
    assert symmetric_kl(Z1, Z2, reduction="none").tolist() == pytest.approx(slow, abs=1e-6)
    assert float(symmetric_kl(Z1, Z2)) == pytest.approx(sum(slow) / 4, abs=1e-6)


def test_is_symmetric_not_negative_and_zero_for_equal_predictions() -> None:
    values = symmetric_kl(Z1, Z2, reduction="none")
    assert torch.equal(values, symmetric_kl(Z2, Z1, reduction="none")) and bool((values > 0).all())
    # logits that differ by a constant predict the same
    torch.testing.assert_close(symmetric_kl(Z1, Z1 + 5, reduction="none"), torch.zeros(4), rtol=0, atol=1e-6)


def test_gradients_flow_into_both() -> None:
    first, second = Z1.double().requires_grad_(), Z2.double().requires_grad_()
    assert torch.autograd.gradcheck(symmetric_kl, (first, second))
    symmetric_kl(first, second).backward()
    assert first.grad is not None and second.grad is not None
    assert bool((first.grad != 0).any()) and bool((second.grad != 0).any())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_logits_stay_finite_in_float32(dtype: torch.dtype) -> None:
    first = torch.tensor([[6e4, -6e4, 0.0], [-6e4, -6e4, -6e4]], dtype=dtype, requires_grad=True)
    second = torch.tensor([[-6e4, 6e4, 0.0], [6e4, 0.0, -6e4]], dtype=dtype, requires_grad=True)
    values = symmetric_kl(first, second, reduction="none")
    values.sum().backward()
    assert values.dtype == torch.float32 and bool((values.isfinite() & (values >= 0)).all())
    for logits in (first, second):
        assert logits.grad is not None and bool(logits.grad.isfinite().all())
