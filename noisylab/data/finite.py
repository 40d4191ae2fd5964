"""Detects NaN or infinite inputs on the device and reports them when the device is read anyway."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisylab.types import Inputs

__all__ = ["FirstBad", "may_be_bad"]


class FirstBad:
    """The first row of each split whose views held a value that is not finite, in the order in which they were built.

    Nothing is read back from the device.
    """

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def watch(self, split: str, index: Tensor, views: Sequence[Inputs]) -> None:
        """Look at the views of rows `index` (B,), all on one device."""
        if len(index) == 0:  # a rank may have no share of a small batch
            return
        bad = torch.zeros_like(index, dtype=torch.bool)
        for view in views:
            for values in view.values() if isinstance(view, dict) else (view,):
                if values.is_floating_point():
                    # NaN passes through a minimum and a maximum
                    low, high = values.reshape(len(index), -1).aminmax(dim=1)
                    bad |= ~(low.isfinite() & high.isfinite())
        place = bad.to(torch.uint8).argmax(0, keepdim=True)
        row = torch.where(bad.any(), index.gather(0, place), -1)
        first = self._first.get(split)
        self._first[split] = row if first is None else torch.where(first >= 0, first, row)

    def row(self, split: str, device: torch.device) -> Tensor:
        """(1,) the first bad row of a split, -1 if none was seen; on `device` where nothing was watched."""
        return self._first.get(split, torch.full((1,), -1, device=device))

    def forget(self, split: str) -> None:
        """Start over, after the values may have been replaced."""
        self._first.pop(split, None)


def may_be_bad(store: object) -> bool:
    """Whether rows of a store can hold NaN or infinity: whole numbers, such as pixels, cannot, and neither can image files."""
    parts = getattr(store, "views", None)
    if isinstance(parts, dict) and hasattr(store, "gather"):
        return any(may_be_bad(part) for part in parts.values())
    values = getattr(store, "values", getattr(store, "data", None))
    return isinstance(values, Tensor) and values.is_floating_point()  # rows of a pack were looked at when they were packed
