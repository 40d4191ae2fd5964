from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from noisylab.losses import cross_entropy, jensen_shannon

Z = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3)]


def test_the_numbers_of_augmix() -> None:
    value = jensen_shannon(*Z).item()
    assert value == pytest.approx(0.066733, abs=1e-6) and 12 * value == pytest.approx(0.800794, abs=1e-5)
    assert cross_entropy(Z[0], torch.tensor([0])).item() == pytest.approx(0.551445, abs=1e-6)


def test_agrees_with_the_authors_lines() -> None:
    torch.manual_seed(0)
    views = [torch.randn(5, 4) * 3 for _ in range(3)]
    probs = [F.softmax(z, dim=1) for z in views]
    mixture = torch.clamp(sum(probs) / 3.0, 1e-7, 1).log()  # type: ignore[arg-type]
    slow = sum(F.kl_div(mixture, p, reduction="batchmean") for p in probs) / 3.0
    assert jensen_shannon(*views).item() == pytest.approx(float(slow), abs=1e-6)
    assert jensen_shannon(*views, reduction="none").mean().item() == pytest.approx(float(slow), abs=1e-6)


def test_lies_between_zero_and_the_logarithm_of_the_number_of_views() -> None:
    same = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(jensen_shannon(same, same + 2, same, reduction="none"), torch.zeros(4), rtol=0, atol=1e-6)
    certain = 100 * torch.eye(3)
    assert jensen_shannon(certain[:1], certain[1:2], certain[2:]).item() == pytest.approx(math.log(3), abs=1e-6)


def test_gradients_flow_into_all() -> None:
    views = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(jensen_shannon, tuple(views))
    jensen_shannon(*views).backward()
    assert all(view.grad is not None and bool((view.grad != 0).all()) for view in views)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_logits_stay_finite_in_float32(dtype: torch.dtype) -> None:
    views = [
        torch.tensor([row], dtype=dtype, requires_grad=True) for row in ([6e4, -6e4, 0.0], [-6e4, 6e4, 0.0], [0.0, 0.0, 6e4])
    ]
    values = jensen_shannon(*views, reduction="none")
    values.sum().backward()
    assert values.dtype == torch.float32 and bool(values.isfinite().all())
    assert all(view.grad is not None and bool(view.grad.isfinite().all()) for view in views)


def test_one_view_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        jensen_shannon(Z[0])
