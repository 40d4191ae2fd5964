"""Orders by blocks: every row once, windows apart, equally likely within, the same after a resume and on other ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisylab.engine.blockorder import RowBlocks, shuffled
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.types import EpochPlan, Phase, Stream

STARTS = torch.tensor([0, 5, 7, 15, 20, 28])  # blocks of unequal size; 30 rows


def order(rows: Tensor, seed: int, window: int | None) -> Tensor:
    blocks = None if window is None else RowBlocks(STARTS, window)
    return shuffled(rows, torch.Generator().manual_seed(seed), blocks)


def block_of(row: int) -> int:
    return sum(start <= row for start in STARTS.tolist()) - 1


@pytest.mark.parametrize("window", [1, 2, 4])
def test_rows_come_once_and_a_window_of_blocks_at_a_time(window: int) -> None:
    rows = torch.tensor([29, 3, 3, 0, 8, 9, 22, 21, 16, 6])  # a stream of chosen rows, one of them twice
    found = order(rows, 1, window).tolist()
    assert sorted(found) == sorted(rows.tolist())
    # with few rows chosen a group may hold rows of fewer blocks, but rows of one block are never torn apart by another group
    everything = order(torch.arange(30), 1, window).tolist()
    groups: list[set[int]] = []
    for row in everything:
        if not groups or (block_of(row) not in groups[-1] and len(groups[-1]) == window):
            groups.append(set())
        groups[-1].add(block_of(row))
    assert sorted(block for group in groups for block in group) == list(range(6))
    assert [len(group) for group in groups] == [window] * (6 // window) + [6 % window] * (6 % window > 0)
    place = {block: number for number, group in enumerate(groups) for block in group}
    assert [place[block_of(row)] for row in found] == sorted(place[block_of(row)] for row in found)


def test_a_window_of_all_blocks_is_the_order_without_blocks() -> None:
    rows = torch.arange(30)
    assert order(rows, 3, 6).equal(order(rows, 3, None))


def test_every_row_is_first_equally_often() -> None:
    first = torch.tensor([int(order(torch.arange(30), seed, 2)[0]) for seed in range(1200)])
    counts = torch.bincount(first, minlength=30).float()
    # its block is in the first of three groups, with one of five others, and then each row of both is as likely
    sizes = torch.diff(STARTS, append=torch.tensor([30])).tolist()
    chance = [sum(1 / 15 / (sizes[b] + sizes[other]) for other in range(6) if other != b) for b in range(6)]
    wanted = 1200 * torch.tensor([chance[block_of(row)] for row in range(30)])
    assert ((counts - wanted).abs() < 5 * wanted.sqrt()).all()


def plan(window: int | None, epoch: int = 0) -> ResolvedPlan:
    stream = {"train": Stream(views=("weak",)), "chosen": Stream(torch.arange(10, 28), ("weak",), batch_size=3, endless=True)}
    blocks = None if window is None else RowBlocks(STARTS, window)
    asked = EpochPlan((Phase("train", stream),))
    return ResolvedPlan(asked, epoch=epoch, seed=0, train_rows=torch.arange(28), batch_size=4, blocks=blocks)


def test_a_resumed_pass_and_any_number_of_ranks_have_the_order_of_one_process() -> None:
    whole = [plan(2).batch(position) for position in range(plan(2).steps)]
    train = torch.cat([batch.streams["train"].index for batch in whole])
    assert sorted(train.tolist()) == list(range(28))
    resumed = list(plan(2).batches(start=3))
    assert all(a.streams["chosen"].index.equal(b.streams["chosen"].index) for a, b in zip(whole[3:], resumed, strict=True))
    shares = [list(plan(2).batches(rank=rank, world_size=2)) for rank in range(2)]
    for batch, mine, theirs in zip(whole, *shares, strict=True):
        merged = torch.stack([mine.streams["train"].index, theirs.streams["train"].index], 1).flatten()
        assert merged.equal(batch.streams["train"].index)
    other = torch.cat([batch.streams["train"].index for batch in plan(2, epoch=1).batches()])
    assert not other.equal(train)


def test_a_window_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be at least 1 block, got 0"):
        RowBlocks(STARTS, 0)
