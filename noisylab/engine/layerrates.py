"""Learning rates by layer: every optimizer that a method makes gives each parameter the share that its network asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from noisylab.models.network import Network
from noisylab.specs import Factory

__all__ = ["FACTOR", "OptimizerByLayer", "check_rates", "mark_rates"]

FACTOR = "layer_factor"
"""Key of an optimizer's group whose learning rate was multiplied: by what."""

_GROUP = "layer_group"  # key beside it: the group of the method that it is a part of
_MARK = "noisylab_rate_factor"  # attribute of a parameter


def mark_rates(networks: nn.Module) -> None:
    """Note at each parameter by which factor its learning rate differs, as `Network.rate_factors` of each network within says.

    A copy of a parameter has no mark, so this is done at the start of each fit, before optimizers are made.
    """
    for network in networks.modules():
        if isinstance(network, Network):
            for name, factor in network.rate_factors().items():
                setattr(network.get_parameter(name), _MARK, factor)


class OptimizerByLayer(Factory[Optimizer]):
    """A factory of optimizers that divides the parameters into groups by their marks, if they have any.

    The rate of a group is that of the factory, or of the group that the method asked for, times the group's factor. Groups of the
    largest factor come first, so that the first group has the rate that a schedule and the logs mean.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Optimizer:
        """A new optimizer of the parameters, or groups of them, that are given first.

        Raises:
            ValueError: for an optimizer without a learning rate.
        """
        parameters = list(args[0])
        if all(_factor(p) == 1 for group in parameters for p in (group["params"] if isinstance(group, dict) else [group])):
            return super().__call__(parameters, *args[1:], **kwargs)
        made = super().__call__(_by_factor(parameters), *args[1:], **kwargs)
        for group in made.param_groups:
            if group.get("lr") is None:
                raise ValueError(f"layer_decay needs an optimizer with a learning rate lr, {type(made).__name__} has none")
            group["lr"] = group["lr"] * group[FACTOR]
        return made


def _factor(parameter: nn.Parameter) -> float:
    return float(getattr(parameter, _MARK, 1.0))


def _by_factor(parameters: Iterable[Any]) -> list[dict[str, Any]]:
    """Groups, each of one factor, of parameters or of groups of them."""
    every = list(parameters)
    asked = every if every and isinstance(every[0], dict) else [{"params": every}]
    found: list[dict[str, Any]] = []
    for number, group in enumerate(asked):
        members = list(group["params"])
        for factor in dict.fromkeys(map(_factor, members)):
            part = [parameter for parameter in members if _factor(parameter) == factor]
            found.append({**group, "params": part, FACTOR: factor, _GROUP: number})
    return sorted(found, key=lambda group: -group[FACTOR])


def check_rates(networks: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Refuse optimizers and schedules under which a parameter has another rate than its network asks for.

    Args:
        networks: after `mark_rates`.
        optimizers: with their schedules already made.

    Raises:
        ValueError: saying who passes the factors by.
    """
    factors = {id(p): _factor(p) for p in networks.parameters() if _factor(p) != 1}
    if not factors:
        return
    for optimizer in optimizers:
        heads: dict[int, float] = {}
        for group in optimizer.param_groups:
            if any(factors.get(id(parameter), 1) != group.get(FACTOR, 1) for parameter in group["params"]):
                raise ValueError(
                    "the network's layer_decay does not reach the optimizer: make it by noisylab.optimizer_factory in "
                    "configure_optimizers, or leave layer_decay at 1"
                )
            if FACTOR in group:  # a schedule keeps the rate that it starts from in each group
                rate = float(group.get("initial_lr", group["lr"])) / group[FACTOR]
                if not math.isclose(heads.setdefault(group[_GROUP], rate), rate, rel_tol=1e-6):
                    raise ValueError(
                        "the schedule gives all groups of parameters one learning rate, so that layer_decay has no effect: take "
                        "one that multiplies the rates of all groups, such as CosineAnnealingLR, or leave layer_decay at 1"
                    )
