"""Held-out rows and subsets: seeded, stratified, never touching a label."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.transforms.draws import key_from

__all__ = ["group_holdout", "stratified_subset"]


def stratified_subset(rows: Tensor, labels: Tensor, size: int, seed: int, *, keep_singletons_out: bool = False) -> Tensor:
    """A random subset of `rows` with the class shares of the whole, sorted.

    Each class gives its share of `size` rounded down; what is missing then comes from the classes with the largest remainders.

    Args:
        rows: (M,) row numbers.
        labels: (M,) int64 label of each row.
        size: number of rows wanted, 0..M.
        seed: names the draw.
        keep_singletons_out: leave at least one row of every class behind; the subset may then be smaller.

    Returns:
        (size,) rows, sorted.

    Raises:
        ValueError: if `size` is not in 0..M.
    """
    if not 0 <= size <= len(rows):
        raise ValueError(f"subset size must be in 0..{len(rows)}, got {size}")
    generator = torch.Generator().manual_seed(key_from(seed, "subset"))
    order = torch.randperm(len(rows), generator=generator)
    classes, counts = torch.unique(labels, return_counts=True)
    allowed = counts - 1 if keep_singletons_out else counts
    wanted = counts.double() * size / max(len(rows), 1)
    take = torch.minimum(wanted.floor().long(), allowed)
    for place in torch.argsort(wanted - wanted.floor(), descending=True, stable=True).tolist() * 2:
        if int(take.sum()) < size and take[place] < allowed[place]:
            take[place] += 1
    shuffled = labels[order]
    chosen = [order[shuffled == c][: int(t)] for c, t in zip(classes.tolist(), take.tolist(), strict=True)]
    return rows[torch.cat(chosen)].sort().values if chosen else rows[:0]


def group_holdout(rows: Tensor, group: Tensor, fraction: float, seed: int) -> Tensor:
    """Rows of whole groups, drawn until they hold at least `fraction` of all rows; at least one group stays behind.

    Args:
        rows: (M,) row numbers.
        group: (M,) int64 group of each row.
        fraction: share to hold out, in (0, 1).
        seed: names the draw.

    Raises:
        ValueError: with fewer than two groups.
    """
    names = torch.unique(group)
    if len(names) < 2:
        raise ValueError(f"val_by='group' needs at least two groups, the data has {len(names)}; use val_by='sample'")
    generator = torch.Generator().manual_seed(key_from(seed, "groups"))
    held = torch.zeros_like(group, dtype=torch.bool)
    for name in names[torch.randperm(len(names), generator=generator)][:-1]:
        if held.float().mean() >= fraction:
            break
        held |= group == name
    return rows[held]
