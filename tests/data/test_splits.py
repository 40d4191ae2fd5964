from __future__ import annotations

import pytest
import torch

from noisylab.data.splits import group_holdout, stratified_subset

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
ROWS = torch.arange(100)


@pytest.mark.parametrize("size", [0, 1, 10, 37, 99, 100])
def test_a_subset_has_the_size_and_the_class_shares(size: int) -> None:
    chosen = stratified_subset(ROWS, LABELS, size, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == size
    counts = torch.bincount(LABELS[chosen], minlength=3)
    assert bool(((counts - torch.tensor([0.6, 0.3, 0.1]) * size).abs() < 1).all())


def test_the_seed_names_the_choice() -> None:
    first, again, other = (stratified_subset(ROWS, LABELS, 20, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first, first.sort().values)


def test_rows_may_be_any_numbers() -> None:
    assert set(stratified_subset(ROWS + 500, LABELS, 50, 0).tolist()) <= set(range(500, 600))


@pytest.mark.parametrize("size", [5, 9, 11])
def test_every_class_leaves_a_row_behind_where_asked(size: int) -> None:
    labels = torch.tensor([0] * 8 + [1] * 3 + [2])
    chosen = stratified_subset(torch.arange(12), labels, size, 0, keep_singletons_out=True)
    left = torch.ones(12, dtype=torch.bool)
    left[chosen] = False
    assert set(labels[left].tolist()) == {0, 1, 2}
    assert len(chosen) == min(size, 9)


@pytest.mark.parametrize("size", [-1, 101])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"subset size must be in 0\.\.100, got {size}"):
        stratified_subset(ROWS, LABELS, size, 0)


def test_groups_are_held_out_whole() -> None:
    group = torch.arange(100) % 7
    held = group_holdout(ROWS, group, 0.3, seed=0)
    inside, outside = set(group[held].tolist()), set(group.tolist()) - set(group[held].tolist())
    assert len(held) == sum(int((group == g).sum()) for g in inside)
    assert len(inside) == 3
    assert outside
    assert not torch.equal(held, group_holdout(ROWS, group, 0.3, seed=1))


def test_one_group_stays_whatever_the_share() -> None:
    group = torch.tensor([0] * 5 + [1] * 95)
    assert len(group_holdout(ROWS, group, 0.99, seed=0)) in (5, 95)


def test_a_single_group_cannot_be_held_out() -> None:
    with pytest.raises(ValueError, match="at least two groups, the data has 1; use val_by='sample'"):
        group_holdout(ROWS, torch.zeros(100), 0.2, 0)
