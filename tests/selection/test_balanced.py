from __future__ import annotations

import itertools

import pytest
import torch

from noisylab.selection import balanced_subset
from noisylab.selection.balanced import spread_classes


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


# ---- spread_classes


def _skewed(rows: int, classes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(torch.linspace(1, 0.2, classes), rows, True, generator=generator)


@pytest.mark.parametrize(("rows", "classes", "size"), [(1000, 10, 64), (60, 5, 10), (2000, 40, 200)])
def test_every_run_of_rows_has_the_shares_of_the_whole(rows: int, classes: int, size: int) -> None:
    for seed in range(5):
        target = _skewed(rows, classes, seed)
        order = spread_classes(torch.arange(rows), target, torch.Generator().manual_seed(seed))
        counts, batches = target.bincount(minlength=classes), rows // size
        for start in range(0, batches * size, size):
            found = target[order[start : start + size]].bincount(minlength=classes)
            assert float((found - counts * size / rows).abs().max()) < 2
            assert bool((found[counts >= 2 * batches] > 0).all()), "two a batch are enough for one in each"


def test_every_row_comes_once_under_its_own_number() -> None:
    rows = torch.randperm(500, generator=torch.Generator().manual_seed(1))[:120]
    target = _skewed(120, 4, 0)
    found = spread_classes(rows, target, torch.Generator().manual_seed(2))
    assert found.sort().values.equal(rows.sort().values) and not found.equal(rows)
    labels = dict(zip(rows.tolist(), target.tolist(), strict=True))
    places = [place for place, row in enumerate(found.tolist()) if labels[row] == 0]
    gaps = [later - earlier for earlier, later in itertools.pairwise(places)]
    assert max(gaps) <= 2 * 120 / len(places), "the labels that were spread are those of the rows"


def test_the_order_is_that_of_the_generator_alone() -> None:
    target = _skewed(120, 4, 0)
    orders = []
    for seed, other in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(other)
        orders.append(spread_classes(torch.arange(120), target, torch.Generator().manual_seed(seed)))
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    firsts = {int(spread_classes(torch.arange(120), target, torch.Generator().manual_seed(seed))[0]) for seed in range(20)}
    assert len(firsts) > 10, "which rows of a class come first is drawn, too"


def test_classes_without_rows_are_no_obstacle() -> None:
    found = spread_classes(torch.arange(6), torch.tensor([3, 3, 3, 0, 0, 0]), torch.Generator().manual_seed(0))
    assert sorted(found.tolist()) == list(range(6))
