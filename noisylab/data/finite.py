"""Inputs that are NaN or infinite, noticed on the device and named at a moment when it is read anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from noisylab.types import Inputs

__all__ = ["FirstBad", "may_be_bad"]


class FirstBad:
    """The first row of each split whose views held a value that is not finite, in the order in which they were built.

    Nothing is read back from the device until `check`.
    """

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def watch(self, split: str, index: Tensor, views: Sequence[Inputs]) -> None:
        """Look at the views of rows `index` (B,), all on one device."""
        bad = torch.zeros_like(index, dtype=torch.bool)
        for view in views:
            for values in view.values() if isinstance(view, dict) else (view,):
                # NaN passes through a minimum and a maximum
                low, high = values.flatten(1).aminmax(dim=1)
                bad |= ~(low.isfinite() & high.isfinite())
        place = bad.to(torch.uint8).argmax(0, keepdim=True)
        row = torch.where(bad.any(), index.gather(0, place), -1)
        first = self._first.get(split)
        self._first[split] = row if first is None else torch.where(first >= 0, first, row)

    def check(
        self,
        split: str,
        name: Callable[[int], str],
        largest_over_ranks: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        """Refuse a split of which a bad row was seen.

        Args:
            split: its name.
            name: what to call a row.
            largest_over_ranks: the largest value of a tensor over all ranks, which must then all call this.

        Raises:
            ValueError: naming the row.
        """
        first = self._first.get(split)
        row = -1 if first is None else int(largest_over_ranks(first))
        if row >= 0:
            raise ValueError(f"the input of {name(row)} is nan or infinite; replace its values or leave the sample out")


def may_be_bad(store: object) -> bool:
    """Whether rows of a store can hold NaN or infinity: whole numbers, as pixels are, cannot, nor can image files."""
    parts = getattr(store, "views", None)
    if isinstance(parts, dict) and hasattr(store, "gather"):
        return any(may_be_bad(part) for part in parts.values())
    values = getattr(store, "values", getattr(store, "data", None))
    return isinstance(values, Tensor) and values.is_floating_point()
