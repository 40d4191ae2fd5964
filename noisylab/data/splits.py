"""Held-out rows, subsets and folds: seeded, stratified, never touching a label."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from noisylab.data.source import Source
from noisylab.transforms.draws import key_from

__all__ = ["clip_holdout", "deal_folds", "fold_rows", "group_holdout", "stratified_subset"]


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
    classes, number, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    allowed = counts - 1 if keep_singletons_out else counts
    wanted = counts.double() * size / max(len(rows), 1)
    take = torch.minimum(wanted.floor().long(), allowed)
    for place in torch.argsort(wanted - wanted.floor(), descending=True, stable=True).tolist() * 2:
        if int(take.sum()) < size and take[place] < allowed[place]:
            take[place] += 1
    if not len(classes):
        return rows[:0]
    # the first ones of each class in the random order, whatever the number of classes in one pass over the rows
    by_class = order[torch.argsort(number[order], stable=True)]
    place = torch.arange(len(rows)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return rows[by_class[place < take.repeat_interleave(counts)]].sort().values


def group_holdout(rows: Tensor, group: Tensor, fraction: float, seed: int) -> Tensor:
    """Rows of whole groups, drawn until they hold at least `fraction` of all rows; at least one group is left.

    Args:
        rows: (M,) row numbers.
        group: (M,) int64 group of each row.
        fraction: share to hold out, in (0, 1).
        seed: names the draw.

    Raises:
        ValueError: with fewer than two groups.
    """
    names, number, counts = torch.unique(group, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"val_by='group' needs at least two groups, the data has {len(names)}; use val_by='sample'")
    generator = torch.Generator().manual_seed(key_from(seed, "groups"))
    order = torch.randperm(len(names), generator=generator)[:-1]
    before = counts[order].cumsum(0) - counts[order]  # rows held out before a group is
    held = torch.zeros(len(names), dtype=torch.bool)
    held[order[before.float() / len(group) < fraction]] = True
    return rows[held[number]]


def clip_holdout(clip: Tensor, labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Rows of whole clips, stratified by class; a class with one clip keeps it in training.

    Args:
        clip: (N,) int64 clip of each row.
        labels: (N,) int64; a clip counts by the label of its first row.
        fraction: share of the clips to hold out.
        seed: names the draw.
    """
    found, number = torch.unique(clip, return_inverse=True)
    rows = torch.arange(len(clip))
    first = torch.full_like(found, len(clip)).scatter_reduce(0, number, rows, "amin")
    size = round(fraction * len(found))
    held = stratified_subset(torch.arange(len(found)), labels[first], size, seed, keep_singletons_out=True)
    return rows[torch.isin(number, held)]


def deal_folds(labels: Tensor, folds: int, seed: int, whole: Tensor | None = None) -> Tensor:
    """The fold of each row.

    The rows of each class, shuffled, are dealt in turn, one class after the other: folds differ by at most one row, and in each
    class by at most one. Where rows belong together, wholes are dealt, the largest first and each to the fold with the fewest
    rows; of several such folds, to the one with the fewest rows of its class, which is that of its first row. So wholes of one
    size are stratified.

    Args:
        labels: (N,) int64 label of each row.
        folds: number of folds, at least 2.
        seed: names the order within a class, and within wholes of one size and class.
        whole: (N,) int64 clip or group of each row, of which none is torn apart; `None` for single rows.

    Returns:
        (N,) int64 fold of each row, in 0..folds-1; no fold is empty.

    Raises:
        ValueError: with more folds than rows or wholes.

    Example:
        >>> deal_folds(torch.tensor([0, 0, 1, 1]), 2, seed=0).bincount().tolist()
        [2, 2]
    """
    rows = torch.arange(len(labels))
    if whole is None:
        found, number, size, kind = rows, rows, torch.ones_like(rows), labels
    else:
        found, number, size = torch.unique(whole, return_inverse=True, return_counts=True)
        kind = labels[torch.full_like(found, len(rows)).scatter_reduce(0, number, rows, "amin")]
    if folds > len(found):
        what = "rows" if whole is None else "clips or groups, which stay whole"
        raise ValueError(f"folds={folds}, but there are {len(found)} {what}; choose at most that many folds")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(key_from(seed, "folds")))
    order = order[torch.argsort(kind[order], stable=True)]
    fold = torch.empty_like(found)
    if whole is None:
        fold[order] = rows % folds
        return fold
    order = order[torch.argsort(size[order], descending=True, stable=True)]
    held, of_kind = [0] * folds, Counter[tuple[int, int]]()
    for place, rows_of, kind_of in zip(order.tolist(), size[order].tolist(), kind[order].tolist(), strict=True):
        to = min((held[k], of_kind[k, kind_of], k) for k in range(folds))[2]
        held[to] += rows_of
        of_kind[to, kind_of] += rows_of
        fold[place] = to
    return fold[number]


def fold_rows(source: Source, labels: Tensor, folds: int, fold: int, seed: int, by_group: bool = False) -> Tensor:
    """The training rows, sorted, of the fold that is the test set; see `deal_folds`.

    Args:
        source: the data; its clips, if it has some, stay whole.
        labels: (N,) int64 labels to stratify by.
        folds: number of folds.
        fold: which one, from 0.
        seed: names the folds.
        by_group: keep groups whole.

    Raises:
        ValueError: for data that has test rows or, with `by_group`, has no groups; with too many folds.
    """
    if source.test_target is not None and len(source.test_target):
        raise ValueError(
            f"folds={folds} takes the test set from the training rows, but this data has {len(source.test_target)} test rows of "
            "its own; leave folds out, or give data without test rows"
        )
    if by_group and source.group is None:
        raise ValueError("val_by='group' needs groups, and this data has none; use val_by='sample'")
    if source.fold is not None:
        return (source.fold == fold).nonzero().flatten()
    whole = source.group if by_group else source.clip
    return (deal_folds(labels, folds, seed, whole) == fold).nonzero().flatten()
