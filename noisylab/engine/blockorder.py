"""A random order that reads rows block by block, for rows that lie on a disk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RowBlocks", "shuffled"]


@dataclass(frozen=True)
class RowBlocks:
    """How the rows lie in blocks, such as the shards of a pack, and how many blocks are mixed at once.

    Args:
        starts: (S,) int64, the first row of each block, from 0, rising.
        window: blocks whose rows are in one random order; at least 1.
    """

    starts: Tensor
    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1 block, got {self.window}")


def shuffled(rows: Tensor, generator: torch.Generator, blocks: RowBlocks | None = None) -> Tensor:
    """Rows in a random order.

    Without blocks, and where a window holds all of them, every order is equally likely. Otherwise the blocks are put in a random
    order, `window` of them at a time make a group, and the rows of each group are in a random order of their own, group after
    group: every row comes once, all blocks of a group are read while its rows are, and rows of two groups are never mixed.

    Args:
        rows: (M,) int64 rows, in any order, some of them perhaps more than once.
        generator: of the random numbers; it alone names the order.
        blocks: of the rows.

    Returns:
        (M,) the same rows.

    Example:
        >>> blocks = RowBlocks(torch.tensor([0, 3, 6]), window=1)
        >>> order = shuffled(torch.arange(9), torch.Generator().manual_seed(0), blocks)
        >>> sorted(order[:3].tolist()) in ([0, 1, 2], [3, 4, 5], [6, 7, 8])
        True
    """
    count = 0 if blocks is None else len(blocks.starts)
    if blocks is None or count <= blocks.window:
        return rows[torch.randperm(len(rows), generator=generator)]
    group = torch.empty(count, dtype=torch.int32)
    group[torch.randperm(count, generator=generator)] = torch.arange(count, dtype=torch.int32) // blocks.window
    found = rows[torch.randperm(len(rows), generator=generator)]
    of_row = group[torch.bucketize(found, blocks.starts, out_int32=True, right=True) - 1]
    return found[torch.argsort(of_row, stable=True)]
