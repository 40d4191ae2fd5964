from __future__ import annotations

import pytest
import torch

from noisylab.transforms.mixing import folded_weights, mix, mix_rows


def test_shares_follow_the_law_of_ieg() -> None:
    torch.manual_seed(0)
    shares = folded_weights(200_000, 0.5, torch.zeros((), dtype=torch.float64))
    assert shares.dtype == torch.float64 and shares.shape == (200_000,)
    assert float(shares.min()) >= 0.5 and float(shares.max()) <= 1
    # 1 - u^2 / 2: mean 5/6, standard deviation sqrt(1/45), density 2 at the median
    assert shares.mean().item() == pytest.approx(5 / 6, abs=5 * (1 / 45 / 200_000) ** 0.5)
    assert shares.median().item() == pytest.approx(0.875, abs=5 * 0.25 / 200_000**0.5)


@pytest.mark.parametrize("beta", [0.25, 0.5, 1.0, 4.0])
def test_shares_come_from_one_uniform_draw_each(beta: float) -> None:
    torch.manual_seed(7)
    found = folded_weights(50, beta, torch.zeros(2))
    torch.manual_seed(7)
    expected = [max(u ** (1 / beta) / 2, 1 - u ** (1 / beta) / 2) for u in torch.rand(50).tolist()]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_every_row_is_mixed_with_its_partner_by_its_own_share() -> None:
    first, second = torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    order, lam = torch.tensor([2, 0, 1]), torch.tensor([0.5, 0.75, 1.0], dtype=torch.float64)
    before = first.clone()
    found = mix_rows({"a": first, "b": second}, order, lam)
    assert isinstance(found, dict) and list(found) == ["a", "b"]
    for name, values in (("a", first), ("b", second)):
        for i, share in enumerate(lam.tolist()):
            torch.testing.assert_close(found[name][i], share * values[i] + (1 - share) * values[order[i]])
    assert torch.equal(first, before)
    assert torch.equal(mix_rows(first, order, torch.ones(3, dtype=torch.float64)), first)  # type: ignore[arg-type]


def test_equal_shares_are_those_of_mix() -> None:
    values, order = torch.randn(4, 3), torch.tensor([3, 2, 1, 0])
    torch.testing.assert_close(mix_rows(values, order, torch.full((4,), 0.75)), mix(values, order, 0.75))


def test_mixed_rows_keep_the_type_of_the_inputs() -> None:
    found = mix_rows(torch.ones(2, 3, dtype=torch.bfloat16), torch.tensor([1, 0]), torch.tensor([0.6, 0.9]))
    assert isinstance(found, torch.Tensor) and found.dtype == torch.bfloat16
