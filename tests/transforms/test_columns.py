"""Columns of a table swapped with those of other rows."""

from __future__ import annotations

import pickle

import pytest
import torch

from noisylab.transforms import Draws, FeatureNoise, FromColumn, SwapColumns, table_views

DONORS = torch.tensor([[1.0, 0, 10, 0], [2.0, 0, 20, 1], [3.0, 1, 30, 0]])
GROUPS = torch.tensor([0, 0, 1, -1])


def draws(rows: int) -> Draws:
    return Draws(5, torch.arange(rows))


def test_numbers_of_one_column_come_from_one_row_and_columns_from_rows_of_their_own() -> None:
    found = SwapColumns(DONORS, GROUPS, 1.0)(torch.full((4000, 4), -1.0), draws(4000))
    first, second = found[:, :2], found[:, 2]
    counts = torch.tensor(
        [[((first == DONORS[a, :2]).all(1) & (second == DONORS[b, 2])).sum() for b in range(3)] for a in range(3)]
    )
    assert int(counts.sum()) == 4000
    assert int(counts.min()) > 350  # of 444 expected
    assert bool((found[:, 3] == -1).all())


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_a_column_is_replaced_with_the_given_probability(rate: float) -> None:
    changed = SwapColumns(DONORS, GROUPS, rate)(torch.full((4000, 4), -1.0), draws(4000))[:, :3] != -1
    assert bool((changed[:, 0] == changed[:, 1]).all())
    torch.testing.assert_close(changed.float().mean(0), torch.full((3,), rate), atol=0.03, rtol=0)


def test_a_row_is_drawn_alike_in_any_batch_and_the_input_is_kept() -> None:
    swap, rows = SwapColumns(DONORS, GROUPS, 0.5), torch.randn(6, 4)
    before = rows.clone()
    whole = swap(rows, draws(6))
    part = pickle.loads(pickle.dumps(swap))(rows[3:], Draws(5, torch.arange(3, 6)))
    assert torch.equal(whole[3:], part)
    assert torch.equal(rows, before)


def test_vectors_get_noise_and_the_columns_before_them_stay() -> None:
    found = FromColumn(2, FeatureNoise(1.0))(torch.zeros(3, 4), draws(3))
    assert bool((found[:, :2] == 0).all()) and bool((found[:, 2:] != 0).all())


def test_the_views_of_a_table() -> None:
    views = table_views(DONORS, GROUPS)
    rows = torch.full((100, 4), -1.0)
    assert torch.equal(views["weak"](rows, draws(100)), rows) and torch.equal(views["eval"](rows, draws(100)), rows)
    strong, simclr = ((views[name](rows, draws(100)) != rows) for name in ("strong", "simclr"))
    assert bool(strong[:, 3].all())  # of a vector
    assert 0.15 < float(strong[:, :3].float().mean()) < 0.45 < float(simclr[:, :3].float().mean()) < 0.75
    alone = table_views(torch.zeros(1, 2), torch.tensor([-1, -1]))
    assert set(alone) == set(views)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="rate must be a probability"):
        SwapColumns(DONORS, GROUPS, 1.5)
    with pytest.raises(ValueError, match=r"donors and groups must be \(M, D\) and \(D,\)"):
        SwapColumns(DONORS[:0], GROUPS, 0.5)
