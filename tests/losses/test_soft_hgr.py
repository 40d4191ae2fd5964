from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylab.losses import soft_hgr


def reference(f: np.ndarray, g: np.ndarray) -> float:
    """From the paper, sample by sample and entry by entry."""
    rows, width = f.shape
    f, g = f - f.mean(0), g - g.mean(0)
    common = sum(f[i] @ g[i] for i in range(rows)) / (rows - 1)
    trace = sum((f[:, a] @ f[:, b]) * (g[:, b] @ g[:, a]) / (rows - 1) ** 2 for a in range(width) for b in range(width))
    return float(common - trace / 2)


def test_it_is_the_papers_formula_and_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    f, g = (torch.randn(7, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert soft_hgr(f, g).item() == pytest.approx(reference(f.detach().numpy(), g.detach().numpy()), rel=1e-12)
    assert torch.autograd.gradcheck(soft_hgr, (f, g))
    assert soft_hgr(f.bfloat16(), g.bfloat16()).item() == pytest.approx(soft_hgr(f, g).item(), abs=0.05)


def test_numbers_worked_out_by_hand() -> None:
    f, g = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]]), torch.tensor([[1.0, 0], [0, 2], [1, 1], [0, 1]])
    # E[f . g] = 2 / 3, cov f = I / 3, cov g = [[1/3, -1/3], [-1/3, 2/3]]
    assert soft_hgr(f, g).item() == pytest.approx(2 / 3 - 1 / 6)
    white = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]) * (3 / 2) ** 0.5
    assert float(soft_hgr(white, white)) == pytest.approx(2 - 2 / 2)  # both correlations are 1


def test_too_few_samples_give_nothing_and_other_shapes_are_refused() -> None:
    for rows in (0, 1):
        f = torch.randn(rows, 3, requires_grad=True)
        value = soft_hgr(f, f.detach())
        value.backward()
        assert value.item() == 0 and f.grad is not None and not f.grad.any()
    with pytest.raises(ValueError, match=r"one shape \(B, D\), got \(4, 3\) and \(4, 2\)"):
        soft_hgr(torch.zeros(4, 3), torch.zeros(4, 2))
