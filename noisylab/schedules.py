"""Rates over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["EpochValuesLR", "act_plan", "step_plan"]


def act_plan(lr: float, total: int, warmup_epochs: int, warmup_lr: float, plan: str) -> list[float]:
    """The learning rate of each epoch in the ACT authors' plan ``cosine:START,END,STOP``.

    ``warmup_lr`` for the warm-up, `lr` for ``START - warmup_epochs`` epochs (none if negative), ``STOP - START`` cosine values
    from `lr` towards END, and the last value for ``total - STOP`` more. START is not moved when the warm-up is longer (authors'
    code).

    Args:
        lr: rate after the warm-up, positive.
        total: epochs of the run.
        warmup_epochs: W, epochs.
        warmup_lr: rate of the warm-up.
        plan: ``cosine:START,END,STOP`` with epochs START < STOP and END < lr.

    Returns:
        At least `total` rates; entry e is the rate of epoch e.

    Raises:
        ValueError: for another form, or END not below `lr`.

    >>> values = act_plan(0.01, 150, 50, 0.01, "cosine:20,5e-4,100")
    >>> len(values), round(values[51], 8), round(values[149], 8)
    (180, 0.00999634, 0.00050366)
    """
    kind, _, numbers = plan.partition(":")
    try:
        first, last, end = (float(part) for part in numbers.split(","))
        start, stop = int(first), int(end)
        if kind != "cosine" or start >= stop:
            raise ValueError
    except ValueError:
        raise ValueError(f"lr_plan must read 'cosine:START,END_LR,STOP' with START < STOP, got {plan!r}") from None
    if last >= lr:
        raise ValueError(f"lr_plan {plan!r} ends at {last}, which must be below the learning rate {lr}")
    values = [warmup_lr] * warmup_epochs + [lr] * max(0, start - warmup_epochs)
    length = stop - start
    values += [last + (lr - last) * (1 + math.cos(math.pi * i / length)) / 2 for i in range(length)]
    return values + [values[-1]] * max(0, total - stop, total - len(values))


def step_plan(lr: float, total: int, milestones: Sequence[int] = (60, 120, 150)) -> list[float]:
    """`lr` times 0.1 at each milestone: the ACT authors' plan "baseline", for `total` epochs."""
    return [lr * 0.1 ** sum(epoch >= m for m in milestones) for epoch in range(total)]


class EpochValuesLR(torch.optim.lr_scheduler.LRScheduler):
    """A schedule that reads the rate of each epoch from a list; past its end the last value stays.

    Args:
        optimizer: whose groups are set.
        values: rate by epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, values: Sequence[float]) -> None:
        self.values = list(values)
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is, without the values: a run that is resumed for more epochs brings a longer list."""
        return {name: value for name, value in super().state_dict().items() if name != "values"}

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of the current epoch for every group."""
        return [self.values[min(self.last_epoch, len(self.values) - 1)]] * len(self.optimizer.param_groups)
