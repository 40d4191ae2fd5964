from __future__ import annotations

import pytest
import torch

from noisylab.losses import nt_xent

FIRST, SECOND = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [-0.6, 0.8]])


def test_numbers_computed_by_hand() -> None:
    rows = nt_xent(FIRST, SECOND, 0.5, reduction="none")
    torch.testing.assert_close(rows, torch.tensor([0.330678, 0.789319, 1.104964, 0.346610]), atol=1e-6, rtol=0)
    assert nt_xent(FIRST, SECOND, 0.5).item() == pytest.approx(0.642893, abs=1e-6)
    assert nt_xent(FIRST, SECOND, 0.07).item() == pytest.approx(0.901871, abs=1e-6)


def test_supcontrast_multiplies_by_the_ratio_of_the_temperatures() -> None:
    assert nt_xent(FIRST, SECOND, 0.5, 0.07).item() == pytest.approx(0.642893 * 0.5 / 0.07, abs=1e-5)
    assert nt_xent(FIRST, SECOND, 0.07, 0.07) == nt_xent(FIRST, SECOND, 0.07)


def test_a_loop_over_rows_gives_the_same_and_lengths_do_not_count() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(5, 4, generator=draw), torch.randn(5, 4, generator=draw)
    z = torch.cat([first, second]).double()
    total = 0.0
    for i in range(10):
        cosine = {j: float(z[i] @ z[j] / (z[i].norm() * z[j].norm())) for j in range(10) if j != i}
        total -= cosine[(i + 5) % 10] / 0.3 - float(torch.tensor([c / 0.3 for c in cosine.values()]).double().logsumexp(0))
    assert nt_xent(first, second, 0.3).item() == pytest.approx(total / 10, rel=1e-6)
    torch.testing.assert_close(nt_xent(3 * first, second, 0.3), nt_xent(first, second, 0.3))


def test_gradients_are_those_of_finite_differences_and_of_one_sample_zero() -> None:
    first, second = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (first, second))
    one = torch.randn(1, 4, requires_grad=True)
    loss = nt_xent(one, torch.randn(1, 4))
    loss.backward()
    assert loss == 0 and one.grad is not None and not one.grad.any()


def test_half_precision_stays_finite() -> None:
    assert nt_xent(100 * FIRST.half(), SECOND.half(), 0.01).isfinite()


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        nt_xent(FIRST, SECOND, 0.0)
