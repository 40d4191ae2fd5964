"""Subsets with the same number of samples of each class."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["balanced_subset", "spread_classes"]


def balanced_subset(rows: Tensor, target: Tensor, size: int, num_classes: int, generator: torch.Generator) -> Tensor:
    """Rows drawn without replacement, at most an equal share of `size`, rounded up, from each class.

    In a random order every row is taken whose class is not full yet, until there are `size` (DivideMix's authors' loader of
    Clothing1M). Small classes are taken whole, so there may be fewer.

    Args:
        rows: (M,) int64 to choose from.
        target: (M,) int64 their labels, 0..K-1.
        size: largest number of rows, at least K.
        num_classes: K.
        generator: of the host.

    Returns:
        int64, on the host, in the order they were drawn.

    Raises:
        ValueError: for a size below K.
    """
    if size < num_classes:
        raise ValueError(f"size={size} leaves some of {num_classes} classes out; draw at least one row per class")
    order = torch.randperm(len(rows), generator=generator)
    drawn, labels = rows.cpu()[order], target.cpu()[order]
    by_class = labels.argsort(stable=True)
    counts = labels.bincount(minlength=num_classes)
    place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[labels[by_class]]  # within the class, in the drawn order
    kept = torch.zeros(len(rows), dtype=torch.bool)
    kept[by_class] = place < -(-size // num_classes)
    return drawn[kept][:size]


def spread_classes(rows: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """The rows in a random order in which every class is spread evenly.

    Of n consecutive rows a class with a share s of all has n s, give or take one at either end.

    Args:
        rows: (M,) int64.
        target: (M,) int64 their labels, 0..K-1.
        generator: of the host.

    Returns:
        (M,) int64, on the host.
    """
    order = torch.randperm(len(rows), generator=generator)
    labels = target.cpu()[order]
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    shift = torch.rand(len(counts), generator=generator, dtype=torch.float64)
    place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[labels[by_class]]  # within the class, in the drawn order
    when = (place + shift[labels[by_class]]) / counts[labels[by_class]]
    return rows.cpu()[order][by_class][when.argsort(stable=True)]
