"""Views of rows of a table: columns swapped with those of other rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from noisylab.transforms.base import View
from noisylab.transforms.draws import Draws

__all__ = ["FromColumn", "SwapColumns"]


class SwapColumns(View):
    """Replaces columns by those of other rows, each column by that of a row of its own: a draw from its marginal distribution.

    All numbers that were made of one column of the table go together, so that a category stays one category and a missing number
    one that is missing (Bahri et al., SCARF, ICLR 2022, algorithm 1; Yoon et al., VIME, NeurIPS 2020, draw each column with a
    probability as here, SCARF a fixed number of them).

    Args:
        donors: (M, D) float32 rows that are drawn from, M at least 1.
        groups: (D,) int64, the number of the column from 0 that each number was made of; -1 stays as it is.
        rate: probability with which a column is replaced, in [0, 1].

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> donors = torch.tensor([[5.0, 1, 0], [6.0, 0, 1]])
        >>> swap = SwapColumns(donors, torch.tensor([0, 1, 1]), rate=1.0)
        >>> swap(torch.zeros(1, 3), Draws(0, torch.arange(1))).tolist() in ([[a, *b]] for a in (5, 6) for b in ([1, 0], [0, 1]))
        True
    """

    def __init__(self, donors: Tensor, groups: Tensor, rate: float) -> None:
        if donors.ndim != 2 or len(donors) < 1 or groups.shape != donors.shape[1:]:
            raise ValueError(f"donors and groups must be (M, D) and (D,), got {tuple(donors.shape)} and {tuple(groups.shape)}")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be a probability in [0, 1], got {rate}")
        self.donors, self.groups, self.rate = donors, groups, rate
        self._columns = int(groups.max()) + 1 if len(groups) else 0
        self._there: dict[torch.device, tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        if self._columns < 1:
            return x.float()
        donors, groups, places, moves = self._on(x.device)
        swapped = draws.bernoulli(self.rate, (self._columns,))
        donor = draws.integers(0, len(self.donors), (self._columns,))
        return torch.where(swapped[:, groups] & moves, donors[donor[:, groups], places], x.float())

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._there:  # copied once, as a copy for every batch would wait for the device
            tables = self.donors, self.groups.clamp(min=0), torch.arange(len(self.groups)), self.groups >= 0
            self._there[device] = tuple(table.to(device) for table in tables)
        return self._there[device]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_there": {}}

    def __repr__(self) -> str:
        return f"SwapColumns({len(self.donors)} donors of {self.donors.shape[1]} numbers, rate={self.rate})"


class FromColumn(View):
    """A view of the numbers from one place on; those before it stay.

    Args:
        start: the place, from 0.
        view: of (B, D - start) features.
    """

    def __init__(self, start: int, view: View) -> None:
        self.start, self.view = start, view

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """(B, D) float32."""
        return torch.cat([x[:, : self.start].float(), self.view(x[:, self.start :], draws)], 1)

    def at(self, epoch: int) -> FromColumn:
        """The view of an epoch."""
        return FromColumn(self.start, self.view.at(epoch))
