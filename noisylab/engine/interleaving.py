"""Forward passes over parts of a batch, each of which holds some of every kind of row."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from noisylab.types import Inputs, map_inputs

__all__ = ["group_bounds", "interleave"]


def group_bounds(size: int, groups: int) -> list[int]:
    """Where the groups of a chunk begin, and where the last one ends: equal ones, what is left over goes to the last ones.

    Args:
        size: rows of a chunk.
        groups: how many.

    >>> group_bounds(8, 3), group_bounds(64, 3)
    ([0, 2, 5, 8], [0, 21, 42, 64])
    """
    small, rest = divmod(size, groups)
    bounds = [0]
    for place in range(groups):
        bounds.append(bounds[-1] + small + (place >= groups - rest))
    return bounds


def interleave(inputs: Inputs, size: int) -> Inputs:
    """Swap rows so that every chunk of `size` rows holds some of the first chunk; done twice it restores them.

    The rows are cut into chunks of `size`, each chunk into as many groups as there are chunks, and group i of the first chunk
    changes places with group i of chunk i (authors' code of MixMatch). What is left over when the rows are cut stays where it
    is, at the end.

    Args:
        inputs: tensors (B, ...), B at least `size`.
        size: rows of a chunk, the number of labeled rows, which come first.

    >>> rows = torch.cat([torch.arange(8) + start for start in (0, 10, 20)])
    >>> interleave(rows, 8).view(3, 8).tolist()
    [[0, 1, 12, 13, 14, 25, 26, 27], [10, 11, 2, 3, 4, 15, 16, 17], [20, 21, 22, 23, 24, 5, 6, 7]]
    """
    return map_inputs(lambda rows: _interleaved(rows, size), inputs)


def _interleaved(rows: Tensor, size: int) -> Tensor:
    chunks = len(rows) // size
    groups = [list(rows[start : start + size].split(_sizes(size, chunks))) for start in range(0, chunks * size, size)]
    for place in range(1, chunks):
        groups[0][place], groups[place][place] = groups[place][place], groups[0][place]
    return torch.cat([*(part for chunk in groups for part in chunk), rows[chunks * size :]])


def _sizes(size: int, groups: int) -> list[int]:
    bounds = group_bounds(size, groups)
    return [stop - start for start, stop in pairwise(bounds)]
