"""Optimizers and schedules: what a method receives, and what Lightning expects from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import lightning as L
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from noisylab.engine.layerrates import OptimizerByLayer, mark_rates
from noisylab.specs import Factory, as_factory
from noisylab.types import LRSchedulerFactory, OptimizerFactory

__all__ = [
    "NamedOptimizers",
    "decayed_apart",
    "one_each",
    "one_for_all",
    "optimizer_factory",
    "scheduler_factory",
    "with_schedules",
]


def optimizer_factory(given: OptimizerFactory | None, default: type[Optimizer], **arguments: Any) -> Factory[Optimizer]:
    """The optimizer given to a method, in a form that a checkpoint can hold, or the method's default.

    It gives each parameter the learning rate that its network asks for, see `noisylab.engine.layerrates`.

    Args:
        given: the constructor's argument.
        default: class of the default.
        **arguments: of the default.
    """
    factory = Factory(default, arguments) if given is None else as_factory(given, Optimizer, "optimizer")
    return OptimizerByLayer(factory.target, factory.init_args)


def scheduler_factory(given: LRSchedulerFactory | None) -> Factory[LRScheduler] | None:
    """The schedule given to a method, in a form that a checkpoint can hold; None for a constant rate."""
    return None if given is None else as_factory(given, LRScheduler, "scheduler")


def one_for_all(parameters: Iterable[nn.Parameter], optimizer: OptimizerFactory, scheduler: LRSchedulerFactory | None) -> Any:
    """The return value of ``configure_optimizers`` with automatic optimization: one optimizer and its schedule.

    Args:
        parameters: of all networks.
        optimizer: called with the parameters.
        scheduler: called with the optimizer; the schedule is stepped once an epoch. None for a constant rate.
    """
    made = optimizer(parameters)
    return (
        made if scheduler is None else {"optimizer": made, "lr_scheduler": {"scheduler": scheduler(made), "monitor": "val/acc"}}
    )


def one_each(
    networks: Mapping[str, nn.Module] | nn.ModuleDict,
    optimizer: OptimizerFactory,
    scheduler: LRSchedulerFactory | None,
    schedule_by: Literal["epoch", "step"] = "epoch",
) -> Any:
    """The return value of ``configure_optimizers`` with manual optimization: an optimizer and its schedule for each network.

    Args:
        networks: by name, in the order of the method's ``optimizer_names``.
        optimizer: called with the parameters of each network.
        scheduler: called with each optimizer. None for a constant rate.
        schedule_by: whether schedules are stepped once an epoch, by noisylab, or by the method itself after each step.

    Raises:
        ValueError: for `ReduceLROnPlateau`, which follows ``val/acc``, by steps.
    """
    return with_schedules([optimizer(network.parameters()) for network in networks.values()], scheduler, schedule_by)


def with_schedules(
    optimizers: list[Optimizer], scheduler: LRSchedulerFactory | None, schedule_by: Literal["epoch", "step"] = "epoch"
) -> Any:
    """The return value of ``configure_optimizers`` with manual optimization: optimizers, each with its schedule; see `one_each`.

    Raises:
        ValueError: for `ReduceLROnPlateau`, which follows ``val/acc``, by steps.
    """
    if scheduler is None:
        return optimizers
    schedules = [scheduler(made) for made in optimizers]
    if schedule_by == "epoch":
        return optimizers, schedules
    if any(isinstance(schedule, ReduceLROnPlateau) for schedule in schedules):
        raise ValueError("schedule_by='step' cannot follow val/acc, as ReduceLROnPlateau does; set schedule_by to epoch")
    return optimizers, [{"scheduler": schedule, "interval": "step"} for schedule in schedules]


def decayed_apart(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer with weight decay, which biases and normalization are left out of.

    Args:
        parameters: of networks; those of fewer than two dimensions are not decayed.
    """
    every = list(parameters)
    weights, others = [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class NamedOptimizers(L.LightningModule):
    """Optimizers by name, and schedules that are stepped by epoch or by step.

    Attributes:
        networks: by name.
        steps_bare: whether gradients and optimizers are left to torch alone, see `noisylab.engine.step.steps_bare`.
        pending_gradients: whether gradients wait for others that are to be added.
    """

    networks: nn.ModuleDict
    steps_bare = False
    pending_gradients = False

    def setup(self, stage: str) -> None:
        """Note which learning rates the networks ask for, before optimizers are made."""
        super().setup(stage)
        if stage == "fit":
            mark_rates(self.networks)

    @property
    def optimizer_names(self) -> tuple[str, ...]:
        """Names of the optimizers in the order of ``configure_optimizers``: one per network."""
        return tuple(self.networks)

    @property
    def resting(self) -> tuple[str, ...]:
        """Names of the optimizers that do not step in the current epoch; their schedules stand still."""
        return ()

    def wrapped_optimizers(self) -> dict[str, LightningOptimizer]:
        """Lightning's optimizers by name."""
        found = self.optimizers()
        return dict(zip(self.optimizer_names, found if isinstance(found, list) else [found], strict=True))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule that counts batches; Lightning would step others before the epoch's end or after its checkpoint."""
        if any(c.scheduler is scheduler and c.interval == "step" for c in self.trainer.lr_scheduler_configs):
            super().lr_scheduler_step(scheduler, metric)
