"""Partners that the rows of a batch are mixed with."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["partners_among"]


def partners_among(kept: Tensor) -> Tensor:
    """A random partner for each row: kept rows are mixed among themselves, and so are the others.

    One permutation from torch's generator of the device; if all rows are kept, it equals ``torch.randperm``. The number of kept
    rows is not read back.

    Args:
        kept: (B,) bool.

    Returns:
        (B,) int64, a permutation.

    >>> kept = torch.tensor([True, False, True, False, True])
    >>> order = partners_among(kept)
    >>> bool((kept[order] == kept).all()), order.sort().values.tolist()
    (True, [0, 1, 2, 3, 4])
    """
    order = torch.randperm(len(kept), device=kept.device)
    left_out = (~kept).to(torch.uint8)
    drawn = order[left_out[order].argsort(stable=True)]
    places = left_out.argsort(stable=True)
    return torch.empty_like(order).scatter_(0, places, drawn)
