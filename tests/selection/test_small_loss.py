from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisylab.selection import keep_count, small_loss, small_loss_among

CE1 = torch.tensor([0.239545, 0.551445, 0.094923, 0.861995])
CE2 = torch.tensor([1.098612, 0.239545, 1.551445, 0.094923])


@pytest.mark.parametrize(("losses", "chosen"), [(CE1, {2, 0}), (CE2, {3, 1})])
def test_half_of_four_losses(losses: Tensor, chosen: set[int]) -> None:
    assert set(small_loss(losses, keep_count(0.5, 4)).nonzero().flatten().tolist()) == chosen


@pytest.mark.parametrize(
    ("rate", "size", "count"),
    # on paper 1, 3, 8, 64, 51.2, 0.5, 12, 0 and 7
    [
        (0.9, 10, 1),
        (0.7, 10, 3),
        (0.2, 10, 8),
        (0.5, 128, 64),
        (0.6, 128, 51),
        (0.5, 1, 0),
        (0.9, 120, 12),
        (0.3, 0, 0),
        (0.0, 7, 7),
    ],
)
def test_count_is_rounded_down_from_the_product_on_paper(rate: float, size: int, count: int) -> None:
    assert keep_count(rate, size) == count
    on_device = keep_count(rate, torch.tensor(size))
    assert on_device.dtype == torch.int64 and int(on_device) == count


def test_plain_rounding_would_lose_a_sample() -> None:
    assert int((1 - 0.9) * 10) == 0


def test_counts_on_the_host_and_on_the_device_are_equal() -> None:
    sizes = torch.arange(300)
    for rate in torch.linspace(0, 1, 41, dtype=torch.float64).tolist():
        assert keep_count(rate, sizes).tolist() == [keep_count(rate, int(size)) for size in sizes]


def test_agrees_with_sorting_and_indexing() -> None:
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        size = int(torch.randint(1, 40, (1,), generator=generator))
        losses = torch.randint(6, (size,), generator=generator).float()  # many ties
        for count in range(size + 1):
            chosen = sorted(range(size), key=lambda i: (float(losses[i]), i))[:count]
            mask = small_loss(losses, count)
            assert mask.nonzero().flatten().tolist() == sorted(chosen), (seed, count)
            assert torch.equal(small_loss(losses, torch.tensor(count)), mask)


@pytest.mark.parametrize(("count", "expected"), [(0, [0, 0, 0]), (1, [0, 0, 1]), (2, [1, 0, 1]), (3, [1, 1, 1]), (9, [1, 1, 1])])
def test_infinite_and_undefined_losses_come_last(count: int, expected: list[int]) -> None:
    losses = torch.tensor([float("inf"), float("nan"), 2.0])
    assert small_loss(losses, count).int().tolist() == expected


def test_an_empty_batch_gives_an_empty_mask() -> None:
    none = torch.zeros(0)
    assert small_loss(none, 3).shape == small_loss_among(none, none.bool(), 0.5).shape == (0,)


# ---- within a set


def _slow_among(losses: list[float], among: list[bool], rate: float) -> list[int]:
    """The authors' rule with lists: sort the set, cut, fall back."""
    members = [i for i, inside in enumerate(among) if inside]
    if not members:
        return list(range(len(losses)))
    order = sorted(members, key=lambda i: losses[i])
    kept = order[: int((1 - rate) * len(order) + 1e-9)]
    return sorted(kept or order)


def test_choice_within_a_set_agrees_with_lists() -> None:
    fell_back = empty = 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        size = int(torch.randint(1, 20, (1,), generator=generator))
        losses, draws = torch.rand(2, size, generator=generator)
        among = draws < 0.3
        for rate in (0.0, 0.2, 0.5, 0.9):
            found = small_loss_among(losses, among, rate).nonzero().flatten().tolist()
            assert found == _slow_among(losses.tolist(), among.tolist(), rate), (seed, rate)
            empty += not among.any()
            fell_back += bool(among.any()) and int((1 - rate) * int(among.sum()) + 1e-9) == 0
    assert empty > 20 and fell_back > 20, "both exceptions were seen"


def test_an_infinite_loss_within_the_set_comes_before_any_outside_it() -> None:
    losses, among = torch.tensor([0.0, float("inf"), 1.0, float("nan")]), torch.tensor([False, True, False, True])
    assert small_loss_among(losses, among, 0.5).tolist() == [False, True, False, False]
    assert small_loss_among(losses, among, 0.0).tolist() == [False, True, False, True]
