from __future__ import annotations

import pytest
import torch

from noisylab.selection import balanced_subset


def _slow(rows: list[int], target: list[int], size: int, num_classes: int, order: list[int]) -> list[int]:
    """As in the authors' loader: one after the other, while there is room."""
    taken: list[int] = []
    counts = [0] * num_classes
    for place in order:
        if counts[target[place]] < size / num_classes and len(taken) < size:
            taken.append(rows[place])
            counts[target[place]] += 1
    return taken


@pytest.mark.parametrize("size", [3, 20, 31, 100])
def test_rows_are_taken_one_by_one_until_their_class_is_full(size: int) -> None:
    rows = torch.randperm(500, generator=torch.Generator().manual_seed(1))[:120]
    target = torch.randint(3, (120,), generator=torch.Generator().manual_seed(2))
    order = torch.randperm(120, generator=torch.Generator().manual_seed(5)).tolist()
    found = balanced_subset(rows, target, size, 3, torch.Generator().manual_seed(5))
    assert found.tolist() == _slow(rows.tolist(), target.tolist(), size, 3, order)


def test_a_small_class_is_taken_whole() -> None:
    target = torch.tensor([0] * 50 + [1] * 2)
    found = balanced_subset(torch.arange(52), target, 20, 2, torch.Generator().manual_seed(0))
    assert target[found].bincount().tolist() == [10, 2]


def test_fewer_rows_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="size=2 leaves some of 3 classes out"):
        balanced_subset(torch.arange(9), torch.arange(9) % 3, 2, 3, torch.Generator())
