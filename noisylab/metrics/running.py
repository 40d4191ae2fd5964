"""Means over the steps of an epoch, kept on the device and in the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["RunningMeans"]


class RunningMeans:
    """Weighted means of named scalars, without a read-back to the host until `compute`.

    Under several ranks each holds sums of its own; `state` and `compute` add them up.

    >>> means = RunningMeans()
    >>> means.add("loss", torch.tensor(1.0), 3); means.add("loss", torch.tensor(2.0), 1)
    >>> means.compute()
    {'loss': 1.25}
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._cells: dict[str, tuple[Tensor, Tensor]] = {}  # views of the sums, made once

    def add(self, name: str, value: Tensor | float, weight: Tensor | float = 1.0) -> None:
        """Add a scalar with a weight, usually the number of samples that it is the mean of; one that is known on the device
        alone may be a tensor, as the value may."""
        here = torch.device("cpu") if self._sums is None else self._sums.device
        device = value.device if isinstance(value, Tensor) else here
        if self._sums is None or self._sums.device != device or name not in self._cells:
            self._make_room(name, device)
        total, weights = self._cells[name]
        if isinstance(weight, Tensor):
            weight = weight.detach().to(total.dtype)
            total.add_(weight * (value.detach() if isinstance(value, Tensor) else value))
        elif isinstance(value, Tensor):
            total.add_(value.detach().to(total.dtype), alpha=weight)
        else:
            total.add_(value * weight)
        weights.add_(weight)

    def _make_room(self, name: str, device: torch.device) -> None:
        # sums of many small numbers; devices without float64 take float32
        dtype = torch.float32 if device.type == "mps" else torch.float64
        sums = torch.zeros(64, 2, dtype=dtype) if self._sums is None else self._sums
        if name not in self._names:
            self._names.append(name)
        if len(self._names) > len(sums):
            sums = torch.cat([sums, torch.zeros_like(sums)])
        self._sums = sums.to(device=device, dtype=dtype)
        self._cells = {known: (row[0], row[1]) for known, row in zip(self._names, self._sums, strict=False)}

    def compute(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """The means so far; NaN where all weights were 0. All ranks must call it together."""
        return {name: s / w if w else math.nan for name, (s, w) in self.totals(sum_over_ranks).items()}

    def totals(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, tuple[float, float]]:
        """(weighted sum, weight) by name; two calls differ by what was added in between. All ranks must call it together."""
        if self._sums is None:
            return {}
        return {name: (s, w) for name, (s, w) in zip(self._names, sum_over_ranks(self._sums).tolist(), strict=False)}

    def reset(self) -> None:
        """Forget everything."""
        self._names, self._sums, self._cells = [], None, {}

    def state(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Any]:
        """Names and sums over all ranks, for a checkpoint. All ranks must call it together."""
        return {"names": list(self._names), "sums": None if self._sums is None else sum_over_ranks(self._sums).clone()}

    def load(self, state: Mapping[str, Any], *, mine: bool = True) -> None:
        """Take over a state; on all ranks but one with ``mine=False``, which keeps only the names."""
        self._names = list(state["names"])
        sums = state["sums"]
        self._sums = None if sums is None else (sums.clone() if mine else torch.zeros_like(sums))
        self._cells = {}
