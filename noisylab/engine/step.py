"""The one place that steps optimizers by hand."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from noisylab.engine.layerrates import check_rates
from noisylab.engine.stepping import Stepping
from noisylab.upstream.torch import forget_step

__all__ = [
    "NoProfiler",
    "begin_stepping",
    "carry_step_count",
    "count_step",
    "step",
    "step_schedule",
    "step_schedules",
    "steps_bare",
]

_added: WeakKeyDictionary[torch.optim.Optimizer, int] = WeakKeyDictionary()
"""Calls that have added to an optimizer's gradient since its last update."""


def step(
    module: Stepping,
    losses: Mapping[str, Tensor | None],
    *,
    final: bool = True,
    clip_norm: float | None = None,
    accumulate: int = 1,
    boundary: bool = True,
) -> None:
    """Backward and step the optimizer of each named network, in the order given.

    Exactly one step of a training step, the last one with ``final=True``, is counted, so that ``trainer.global_step`` counts
    training steps whatever number of optimizers a method has. It goes through Lightning's wrapper unless that has nothing else to
    do (`steps_bare`). Under a gradient scaler every optimizer is unscaled and stepped through the scaler, which leaves out the
    step of a network whose gradient has overflowed, and that one alone; the scaler is updated once, at the last step.

    Args:
        module: the method; its ``optimizer_names`` are the allowed names.
        losses: a scalar loss for each network to be updated now; None for one that the losses before it have given its
            gradient. A loss may not depend on the parameters of a network that is stepped before it in this call.
        final: whether this is the last call of the training step.
        clip_norm: largest 2-norm of each network's true (unscaled, accumulated) gradient, positive.
        accumulate: training steps whose mean gradient makes one update. A shorter group, as at the end of an epoch, makes an
            update of the mean over its own length, which is counted in calls: name a network in one call a training step.
        boundary: whether an update is due now; with ``accumulate=1`` always. Between boundaries only gradients are added.

    Raises:
        ValueError: for a name without an optimizer, no losses, or a `clip_norm` or `accumulate` that is not positive.
    """
    names = list(module.optimizer_names)
    unknown = [name for name in losses if name not in names]
    if unknown or not losses:
        raise ValueError(f"losses must name optimizers among {', '.join(names)}, got {', '.join(losses) or 'none'}")
    if (clip_norm is not None and clip_norm <= 0) or accumulate < 1:
        raise ValueError(f"clip_norm and accumulate must be positive, got {clip_norm} and {accumulate}")
    scaler: Any = getattr(module.trainer.precision_plugin, "scaler", None)
    if scaler is not None and not scaler.is_enabled():
        scaler = None
    optimizers = module.wrapped_optimizers()
    grouped = accumulate > 1 or not boundary
    for name, loss in losses.items():
        if loss is not None:
            share = loss / accumulate if accumulate > 1 else loss
            if module.steps_bare:
                share.backward()
            else:
                module.manual_backward(share)
        if grouped:
            _added[optimizers[name].optimizer] = _added.get(optimizers[name].optimizer, 0) + 1
    last = list(losses)[-1]
    for name in losses if boundary else ():
        wrapped = optimizers[name]
        raw = wrapped.optimizer
        calls = _added.pop(raw, 1)
        if accumulate > 1 and calls != accumulate:
            _multiply_gradients(raw, accumulate / calls)
        if clip_norm is not None:
            _clip(raw, clip_norm, scaler)
        if final and name == last and module.steps_bare:
            raw.step()
            count_step(module)
        elif final and name == last:
            before: Any = None if scaler is None else _scaled(scaler, 1.0, raw)
            wrapped.step()
            if scaler is not None:  # gradients that wait for others do so at the scale of those to come
                for other in optimizers.values():
                    if other.optimizer in _added:
                        _multiply_gradients(other.optimizer, _scaled(scaler, 1.0, raw) / before)
        elif scaler is not None:
            _step_scaled(scaler, raw)
        else:
            raw.step()
        raw.zero_grad(set_to_none=True)
    if grouped or module.pending_gradients:
        module.pending_gradients = any(wrapped.optimizer in _added for wrapped in optimizers.values())


def _with_gradient(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _multiply_gradients(optimizer: torch.optim.Optimizer, factor: Tensor | float) -> None:
    for parameter in _with_gradient(optimizer):
        parameter.grad.mul_(factor)


def _clip(optimizer: torch.optim.Optimizer, clip_norm: float, scaler: Any) -> None:
    parameters = _with_gradient(optimizer)
    # clipping the scaled gradient at clip * scale equals clipping the true one at clip
    limit: Any = clip_norm if scaler is None else _scaled(scaler, clip_norm, optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    if scaler is not None and parameters:
        # a finite gradient of infinite norm was clipped to 0; NaN instead makes the scaler leave out the step and back off
        parameters[0].grad.add_(norm - norm)


def _scaled(scaler: Any, value: float, optimizer: torch.optim.Optimizer) -> Tensor:
    """A number times the scale, on the optimizer's device, which is not waited for."""
    return scaler.scale(torch.full((), value, dtype=torch.float32, device=optimizer.param_groups[0]["params"][0].device))


def _step_scaled(scaler: Any, optimizer: torch.optim.Optimizer) -> None:
    scaler.step(optimizer)
    forget_step(scaler, optimizer)


def steps_bare(module: Stepping) -> bool:
    """Whether gradients and optimizers can be left to torch alone, which saves time in every step.

    They cannot with several processes, a gradient scaler, a profiler, or when anyone listens to the hooks in between.
    """
    trainer: Any = module.trainer
    plain_precision = type(trainer.precision_plugin) in (Precision, MixedPrecision, HalfPrecision, DoublePrecision)
    if type(trainer.strategy) is not SingleDeviceStrategy or not plain_precision:
        return False
    if getattr(trainer.precision_plugin, "scaler", None) is not None or not isinstance(trainer.profiler, PassThroughProfiler):
        return False
    between = ["on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad"]
    own = [*between, "backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping"]
    listeners = [(hook, callback) for callback in trainer.callbacks for hook in between] + [(hook, module) for hook in own]
    return not any(is_overridden(hook, listener) for hook, listener in listeners)


class NoProfiler(PassThroughProfiler):
    """A profiler that does nothing, at a tenth of the cost: Lightning enters dozens of contexts per batch."""

    _nothing: ClassVar[AbstractContextManager[None]] = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self._nothing


def begin_stepping(module: Stepping) -> None:
    """At the start of a fit, take the schedules that count epochs over from Lightning, and remove what slows down a step.

    Raises:
        ValueError: if an optimizer or a schedule passes by the learning rates that a network asks for.
    """
    trainer = module.trainer
    check_rates(module.networks, trainer.optimizers)
    for config in trainer.lr_scheduler_configs:
        config.reduce_on_plateau = False  # see NamedOptimizers.lr_scheduler_step
    if type(trainer.profiler) is PassThroughProfiler:
        trainer.profiler = NoProfiler()
    module.steps_bare, module.pending_gradients = steps_bare(module), False
    module.zero_grad()  # of a fit that was broken off while it accumulated


def count_step(module: Stepping) -> None:
    """Count a step in ``trainer.global_step`` that did not go through Lightning's wrapper."""
    progress = module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def carry_step_count(module: Stepping) -> None:
    """Let ``trainer.global_step`` go on from a checkpoint whose run optimized the other way, automatically or manually."""
    loop = module.trainer.fit_loop.epoch_loop
    counts = {
        False: loop.manual_optimization.optim_step_progress.total,
        True: loop.automatic_optimization.optim_progress.optimizer.step.total,
    }
    used = counts[bool(module.automatic_optimization)]
    used.ready = used.completed = max(count.completed for count in counts.values())


def step_schedules(module: Stepping, metrics: Mapping[str, Any]) -> None:
    """Step the learning-rate schedules that count epochs, of automatic and manual methods alike.

    Args:
        module: the method.
        metrics: what was logged in this epoch; `ReduceLROnPlateau` follows ``val/acc`` and waits in epochs without validation.

    Raises:
        ValueError: for `ReduceLROnPlateau` without a validation split to follow.
    """
    every = module.trainer.check_val_every_n_epoch
    validated = every is not None and (module.current_epoch + 1) % every == 0
    optimizers = module.wrapped_optimizers()
    resting = [optimizers[name].optimizer for name in module.resting]
    for config in module.trainer.lr_scheduler_configs:
        schedule = config.scheduler
        if any(schedule.optimizer is optimizer for optimizer in resting):
            continue
        if config.interval != "epoch" or (module.current_epoch + 1) % config.frequency:
            continue
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            if "val/acc" in metrics:
                schedule.step(float(metrics["val/acc"]))
            elif validated:
                raise ValueError("ReduceLROnPlateau follows val/acc, which needs a validation split; set data.val_fraction")
        else:
            step_schedule(schedule)


def step_schedule(schedule: Any) -> None:
    """Step a schedule that depends only on the number of calls.

    torch takes it for a mistake when the optimizer, of a later stage or after an overflow, has not stepped yet; it is none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        schedule.step()
