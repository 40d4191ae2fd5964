"""Schedules of learning rates, forget rates and weights over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from noisylab.losses import cores2_weight, peer_weight

__all__ = [
    "CosineDecay",
    "CosineRestarts",
    "DividedStepLR",
    "EpochValuesLR",
    "LinearDecay",
    "WarmupCosine",
    "act_plan",
    "forget_rates",
    "linear_rampup",
    "sigmoid_rampup",
    "step_plan",
]


def act_plan(lr: float, total: int, warmup_epochs: int, warmup_lr: float, plan: str) -> list[float]:
    """The learning rate of each epoch in one of the ACT authors' plans.

    - ``cosine:START,END,STOP``: ``warmup_lr`` for the warm-up, `lr` for ``START - warmup_epochs`` epochs (none if negative),
      ``STOP - START`` cosine values from `lr` towards END, and the last value for ``total - STOP`` more. START is not moved when
      the warm-up is longer (authors' code).
    - ``linear:START,END,STOP``: the same with evenly spaced values from `lr` to END, both included.
    - ``halfcosine:START,END,STOP``: the same with the second half of a cosine, which begins halfway between `lr` and END.
    - ``step:EPOCH,EPOCH,...,FACTOR``: ``warmup_lr`` for the warm-up, then `lr` times FACTOR, below 1, for every EPOCH reached.

    The short names of their code are ``step:60,120,150,0.1`` ("step"), ``step:50,80,100,0.1`` ("step30"), and with the length of
    the run as STOP ``cosine:60,0,STOP`` and linear from 60 to `lr` / 100,000; "baseline" is `step_plan`.

    Args:
        lr: rate after the warm-up, positive.
        total: epochs of the run.
        warmup_epochs: W, epochs.
        warmup_lr: rate of the warm-up.
        plan: see above, with epochs START < STOP and END < lr.

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
        parts = [float(part) for part in numbers.split(",")]
        if not all(math.isfinite(part) and part >= 0 for part in parts):
            raise ValueError
        if kind == "step":
            *epochs, factor = parts
            if not epochs or not 0 < factor < 1 or epochs != sorted(epochs):
                raise ValueError
            fallen = [lr * factor ** sum(epoch >= m for m in epochs) for epoch in range(max(total, warmup_epochs))]
            return [warmup_lr] * warmup_epochs + fallen[warmup_epochs:]
        first, last, end = parts
        start, stop = int(first), int(end)
        if kind not in ("cosine", "linear", "halfcosine") or start >= stop:
            raise ValueError
    except ValueError:
        raise ValueError(
            "lr_plan must read 'cosine:START,END_LR,STOP' with START < STOP, 'linear' or 'halfcosine' likewise, or "
            f"'step:EPOCH,...,FACTOR' with rising epochs and a factor below 1, got {plan!r}"
        ) from None
    if last >= lr:
        raise ValueError(f"lr_plan {plan!r} ends at {last}, which must be below the learning rate {lr}")
    values = [warmup_lr] * warmup_epochs + [lr] * max(0, start - warmup_epochs)
    length = stop - start
    if kind == "linear":
        values += [lr + (last - lr) * i / max(length - 1, 1) for i in range(length)]
    else:
        period, begin = (2 * length, length) if kind == "halfcosine" else (length, 0)
        values += [last + (lr - last) * (1 + math.cos(math.pi * (begin + i) / period)) / 2 for i in range(length)]
    return values + [values[-1]] * max(0, total - stop, total - len(values))


def step_plan(lr: float, total: int, milestones: Sequence[int] = (60, 120, 150)) -> list[float]:
    """`lr` times 0.1 at each milestone: the ACT authors' plan "baseline", for `total` epochs."""
    return [lr * 0.1 ** sum(epoch >= m for m in milestones) for epoch in range(total)]


def sigmoid_rampup(step: float, length: float) -> float:
    """``exp(-5 (1 - min(step, length) / length)^2)``: from 0.0067 at step 0 up to 1 at `length` (Laine and Aila, ICLR 2017).

    Args:
        step: steps so far, 0 or more.
        length: steps until 1 is reached; 0 for 1 from the beginning.

    >>> [round(sigmoid_rampup(step, 40_000), 6) for step in (0, 10_000, 20_000, 40_000, 90_000)]
    [0.006738, 0.060055, 0.286505, 1.0, 1.0]
    """
    if step < 0 or length < 0:
        raise ValueError(f"step and length must be 0 or more, got {step} and {length}")
    return 1.0 if length == 0 else math.exp(-5 * (1 - min(step, length) / length) ** 2)


def linear_rampup(passed: float, length: float) -> float:
    """``min(passed / length, 1)``: from 0 up to 1 at `length`, as the weight of MixMatch's unlabeled loss rises.

    Args:
        passed: steps, or epochs, so far, 0 or more; parts of an epoch count.
        length: until 1 is reached, in the same unit; 0 for 1 from the beginning.

    >>> [round(75 * linear_rampup(epoch, 1024), 5) for epoch in (0.5, 16, 512, 2000)]
    [0.03662, 1.17188, 37.5, 75.0]
    """
    if passed < 0 or length < 0:
        raise ValueError(f"passed and length must be 0 or more, got {passed} and {length}")
    return 1.0 if length == 0 else min(passed / length, 1.0)


class EpochValuesLR(torch.optim.lr_scheduler.LRScheduler):
    """A schedule that reads the rate of each epoch from a list; after its end the last value stays in use.

    Args:
        optimizer: whose groups are set.
        values: rate by epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, values: Sequence[float]) -> None:
        self.values = list(values)
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The position of the schedule, without the values: a run resumed for more epochs has a longer list."""
        return {name: value for name, value in super().state_dict().items() if name != "values"}

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of the current epoch for every group, times the group's factor where a network has a `layer_decay`."""
        rate = self.values[min(self.last_epoch, len(self.values) - 1)]
        return [rate * group.get("layer_factor", 1.0) for group in self.optimizer.param_groups]


def forget_rates(rate: float, ramp_epochs: int = 10, exponent: float = 1.0) -> list[float]:
    """The fraction of each batch that Co-teaching leaves out (Han et al., NeurIPS 2018; authors' code).

    ``f_e = rate^exponent * e / (ramp_epochs - 1)`` in the first `ramp_epochs` epochs, 0 in a ramp of one epoch; `rate` from
    then on. With another exponent than 1 the ramp does not end at `rate`: there is a jump after it.

    Args:
        rate: fraction in [0, 1).
        ramp_epochs: epochs, at least 1.
        exponent: positive.

    Returns:
        ``ramp_epochs + 1`` fractions; entry e is that of epoch e, the last one stays.

    Raises:
        ValueError: for an argument outside its range.

    >>> [round(f, 4) for f in forget_rates(0.2, ramp_epochs=10)][:4], forget_rates(0.25, 3, exponent=0.5)
    ([0.0, 0.0222, 0.0444, 0.0667], [0.0, 0.25, 0.5, 0.25])
    """
    if not 0 <= rate < 1:
        raise ValueError(f"forget_rate must be a fraction in [0, 1), got {rate}")
    if not isinstance(ramp_epochs, int) or ramp_epochs < 1:
        raise ValueError(f"ramp_epochs must be a whole number, at least 1, got {ramp_epochs}")
    if not 0 < exponent < math.inf:
        raise ValueError(f"exponent must be a positive number, got {exponent}")
    top = rate**exponent
    return [top * epoch / max(ramp_epochs - 1, 1) for epoch in range(ramp_epochs)] + [rate]


class LinearDecay(torch.optim.lr_scheduler.LRScheduler):
    """A constant rate that falls linearly from some epoch on, at which Adam's beta1 may change as well (Co-teaching).

    The rate of epoch e from `start` on is ``lr (stop - e) / (stop - start)``: still whole at `start`, 0 at `stop`, which is not
    reached: from epoch ``stop - 1`` on it stays at ``lr / (stop - start)``.

    Args:
        optimizer: whose groups are set.
        start: epoch in which the decay starts.
        stop: epoch in which the rate would be 0, after `start`; usually the length of the run.
        beta1: first beta of Adam from epoch `start` on, in [0, 1); 0.1 in the papers. None leaves it as it is.

    Raises:
        ValueError: for an argument outside its range, or a `beta1` for an optimizer without betas.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, start: int, stop: int, beta1: float | None = None) -> None:
        if not 0 <= start < stop:
            raise ValueError(f"start and stop must be epochs with 0 <= start < stop, got {start} and {stop}")
        if beta1 is not None and not 0 <= beta1 < 1:
            raise ValueError(f"beta1 must be in [0, 1), got {beta1}")
        if beta1 is not None and any("betas" not in group for group in optimizer.param_groups):
            raise ValueError(f"beta1={beta1} needs an optimizer with betas, such as Adam; {type(optimizer).__name__} has none")
        self.start, self.stop, self.beta1 = start, stop, beta1
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        """Advance to the next epoch."""
        super().step(epoch)
        if self.beta1 is not None and self.last_epoch >= self.start:
            for group in self.optimizer.param_groups:
                group["betas"] = (self.beta1, *group["betas"][1:])

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of the current epoch for every group."""
        left = self.stop - min(max(self.last_epoch, self.start), self.stop - 1)
        return [rate * left / (self.stop - self.start) for rate in self.base_lrs]


class DividedStepLR(torch.optim.lr_scheduler.LRScheduler):
    """A rate that falls in steps, divided by one plus the weight of a loss's second part (peer loss, CORES2).

    The rate of epoch e is ``lr gamma^(milestones at or before e) / (1 + a_e)``: as a_e rises, the length of a step does not. So
    in the benchmark of KlemenVovk/noisy-labels, from 0.1 with milestones 40, 80, 120 (peer loss) or 50 (CORES2).

    Args:
        optimizer: whose groups are set.
        weights: "peer" or "cores2" for the criterion's own table (`noisylab.losses.peer_weight`,
            `noisylab.losses.cores2_weight`), or what its argument ``weights`` was given: a of each epoch, the last one stays.
        milestones: epochs in which the rate falls.
        gamma: factor at each milestone, in (0, 1].

    Raises:
        ValueError: for an argument outside its range.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        weights: Literal["peer", "cores2"] | list[float],
        milestones: list[int],
        gamma: float = 0.1,
    ) -> None:
        if weights not in ("peer", "cores2") if isinstance(weights, str) else not weights or min(weights) < 0:
            raise ValueError(f"weights must be 'peer', 'cores2', or a list of numbers of 0 or more, got {weights!r}")
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma must be in (0, 1], got {gamma}")
        self.weights = weights if isinstance(weights, str) else list(weights)
        self.milestones, self.gamma = list(milestones), gamma
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The position of the schedule, without its lists: a run resumed for more epochs has longer ones."""
        return {name: value for name, value in super().state_dict().items() if name not in ("weights", "milestones")}

    def _weight(self, epoch: int) -> float:
        if isinstance(self.weights, str):
            return peer_weight(epoch) if self.weights == "peer" else cores2_weight(epoch)
        return self.weights[min(epoch, len(self.weights) - 1)]

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of the current epoch for every group."""
        passed = sum(self.last_epoch >= milestone for milestone in self.milestones)
        return [rate * self.gamma**passed / (1 + self._weight(self.last_epoch)) for rate in self.base_lrs]


class WarmupCosine(torch.optim.lr_scheduler.LRScheduler):
    """A linear rise, then a cosine down to a small share of the rate (SimCLR as in SupContrast's trainer).

    The rate of epoch e = 1, 2, ... is ``floor lr + (1 - floor) lr (1 + cos(pi e / total)) / 2``. In the first `warmup` epochs it
    rises instead from `start` to the value of that cosine at their end, and is in each epoch what the trainer's, which rises by
    step, is in the middle of it.

    Args:
        optimizer: whose groups are set; those with another rate have the same share of theirs.
        total: epochs of the run.
        warmup: epochs of the rise; 0 for none.
        start: rate from which the first group rises, of at least 0.
        floor: last rate as a share of the first, in [0, 1].

    Raises:
        ValueError: for an argument outside its range.

    Example:
        >>> schedule = WarmupCosine(torch.optim.SGD([torch.zeros(1)], lr=0.5), total=1000, warmup=0)
        >>> rates = [round(schedule.rate(epoch), 6) for epoch in (1, 500, 1000)]
        >>> rates, round(schedule.rate(10), 6)
        ([0.499999, 0.25025, 0.0005], 0.499877)
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, total: int, warmup: int = 10, start: float = 0.01, floor: float = 1e-3
    ) -> None:
        if total < 1 or not 0 <= warmup <= total or not 0 <= start < math.inf or not 0 <= floor <= 1:
            raise ValueError(
                "total must be at least 1, warmup in 0..total, start at least 0 and floor in [0, 1], got "
                f"{total}, {warmup}, {start} and {floor}"
            )
        self.total, self.warmup, self.start, self.floor = total, warmup, start, floor
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The position of the schedule, without its length: a run resumed for more epochs has a longer one."""
        return {name: value for name, value in super().state_dict().items() if name != "total"}

    def rate(self, epoch: float) -> float:
        """The cosine of the first group at the end of `epoch`, counted from 1."""
        share = self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(epoch, self.total) / self.total)) / 2
        return float(self.base_lrs[0]) * share

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of the current epoch for every group."""
        if self.last_epoch < self.warmup:
            now = self.start + (self.rate(self.warmup) - self.start) * (self.last_epoch + 0.5) / self.warmup
        else:
            now = self.rate(self.last_epoch + 1)
        return [rate * now / self.base_lrs[0] for rate in self.base_lrs]


class CosineRestarts(torch.optim.lr_scheduler.LRScheduler):
    """Cosine decay to 0 with restarts, each cycle longer than the one before and from a lower peak.

    Cycle c = 0, 1, ... lasts ``first * stretch^c`` calls, and within it, after a share t of it, the rate is
    ``lr * peak^c * (1 + cos(pi t)) / 2``. So in the authors' code of IEG, by step: 500 steps, 1.5 and 0.9 (Loshchilov and Hutter,
    "SGDR", ICLR 2017, with TensorFlow's falling peaks).

    Args:
        optimizer: whose groups are set.
        first: calls of the first cycle, at least 1.
        stretch: factor of the length from cycle to cycle, at least 1.
        peak: factor of the rate at a restart, in (0, 1].

    Raises:
        ValueError: for an argument outside its range.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, first: int, stretch: float = 1.5, peak: float = 0.9) -> None:
        if first < 1 or not 1 <= stretch < math.inf or not 0 < peak <= 1:
            raise ValueError(f"first and stretch must be at least 1 and peak in (0, 1], got {first}, {stretch} and {peak}")
        self.first, self.stretch, self.peak = first, stretch, peak
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """The current rate for every group."""
        start, length, cycle = 0.0, float(self.first), 0
        while self.last_epoch >= start + length - 1e-9:  # few, as cycles grow
            start, length, cycle = start + length, length * self.stretch, cycle + 1
        share = max(self.last_epoch - start, 0.0) / length
        return [rate * self.peak**cycle * (1 + math.cos(math.pi * share)) / 2 for rate in self.base_lrs]


class CosineDecay(torch.optim.lr_scheduler.LRScheduler):
    """The first part of a cosine over the whole run, ``lr max(0, cos(pi share s / total))`` after s calls (FixMatch).

    With a share of 7/16 the rate ends at a fifth of the first one.

    Args:
        optimizer: whose groups are set.
        total: calls of the run, at least 1; None for as many as there are, which methods that learn from unlabeled rows
            fill in.
        share: of a half period that is gone through, in (0, 1].

    Raises:
        ValueError: for an argument outside its range.

    Example:
        >>> schedule = CosineDecay(torch.optim.SGD([torch.zeros(1)], lr=0.03), total=2**20)
        >>> schedule.last_epoch = 2**19
        >>> round(schedule.get_lr()[0], 8)
        0.02319031
    """

    def __init__(self, optimizer: torch.optim.Optimizer, total: int | None = None, share: float = 7 / 16) -> None:
        if (total is not None and total < 1) or not 0 < share <= 1:
            raise ValueError(f"total must be at least 1, or None, and share in (0, 1], got {total} and {share}")
        self.total, self.share = total, share
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The position of the schedule, without its length: a run resumed for more epochs has a longer one."""
        return {name: value for name, value in super().state_dict().items() if name != "total"}

    def get_lr(self) -> list[float | torch.Tensor]:
        """The current rate for every group."""
        if self.last_epoch == 0:
            return list(self.base_lrs)
        if self.total is None:
            raise ValueError("CosineDecay does not know how long the run is: give it total, the number of its calls")
        passed = min(self.last_epoch / self.total, 1.0)
        return [rate * max(0.0, math.cos(math.pi * self.share * passed)) for rate in self.base_lrs]
