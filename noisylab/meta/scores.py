"""Scores of samples and labels from derivatives along the gradient of a trusted loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "SGDState",
    "add_decay",
    "at_least_float32",
    "label_gradients",
    "look_ahead",
    "loss_derivative",
    "sgd_state",
    "weight_gradients",
]


def at_least_float32(values: Tensor) -> Tensor:
    """Floating-point values in at least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32)) if values.is_floating_point() else values


def loss_derivative(logits: Tensor, tangent: Tensor, target: Tensor) -> Tensor:
    """d/dt of the cross-entropy of each sample along a direction, ``<softmax(z) - onehot(y), dz>``.

    Along the gradient of a trusted batch's loss this is the meta-gradient of L2R: what a sample's weight does to that loss in one
    step of plain gradient descent from weights of 0, with the sign turned and per unit of the step's rate (Ren, Zeng, Yang and
    Urtasun, ICML 2018, equation 12).

    Args:
        logits: (B, K).
        tangent: (B, K) derivative of the logits.
        target: (B,) int64 labels.

    Returns:
        (B,) in at least float32; positive where a step on the sample lowers the trusted loss.
    """
    logits, tangent = at_least_float32(logits.detach()), at_least_float32(tangent)
    mean = (F.softmax(logits, 1) * tangent).sum(1)
    return mean - tangent.gather(1, target[:, None]).squeeze(1)


def _log_prob_derivative(logits: Tensor, tangent: Tensor) -> Tensor:
    """(B, K) d/dt of log softmax."""
    logits, tangent = at_least_float32(logits.detach()), at_least_float32(tangent)
    return tangent - (F.softmax(logits, 1) * tangent).sum(1, keepdim=True)


def look_ahead(
    parameters: Mapping[str, Tensor],
    slope: Mapping[str, Tensor],
    *,
    rate: float,
    momentum: float = 0.0,
    velocity: Mapping[str, Tensor] | None = None,
    decay: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """The weights after one step of gradient descent: ``theta - rate * (momentum * velocity + slope + decay * theta)``.

    Args:
        parameters: theta by name.
        slope: gradient of the loss by name.
        rate: of the step.
        momentum: share of the velocity that is kept.
        velocity: of the real optimizer, by name; parameters that it leaves out have none yet.
        decay: weight decay by name; 0 where it is left out.
    """
    velocity, decay = velocity or {}, decay or {}
    moved = {}
    for name, step in slope.items():
        value = parameters[name].detach().to(step.dtype)
        change = step + decay[name] * value if decay.get(name) else step
        if name in velocity:
            change = change + momentum * velocity[name].to(step.dtype)
        moved[name] = value - rate * change
    return moved


@dataclass(frozen=True)
class SGDState:
    """What torch's SGD holds of a network's parameters, by name, as `look_ahead` takes it.

    Args:
        decay: weight decay.
        velocity: momentum buffers; there are none before the first step.
    """

    decay: dict[str, float]
    velocity: dict[str, Tensor]


def sgd_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> SGDState:
    """The state of the optimizer of a network; one that is not `torch.optim.SGD` has none."""
    decay: dict[str, float] = {}
    velocity: dict[str, Tensor] = {}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        for parameter in group["params"]:
            name = names[id(parameter)]
            decay[name] = float(group["weight_decay"])
            held = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if held is not None:
                velocity[name] = held
    return SGDState(decay, velocity)


def add_decay(slope: Mapping[str, Tensor], at: Mapping[str, Tensor], decay: Mapping[str, float]) -> dict[str, Tensor]:
    """A gradient by name, with the weight decay at the point `at` added, except for parameters that `decay` leaves out."""
    return {
        name: value + decay[name] * at[name].detach().to(value.dtype) if decay.get(name) else value
        for name, value in slope.items()
    }


def weight_gradients(logits: Tensor, tangent: Tensor, mixed: Tensor) -> Tensor:
    """The effect of each sample's weight on the trusted loss, with reversed sign and per unit of learning rate.

    ``-(1 / alpha) dV / da_n = -sum_k m_nk d log p_nk`` for the mixed targets m of IEG (Zhang, Zhang, Arik, Lee and Pfister, CVPR
    2020, section 3.2), where d is the derivative along the gradient of V at the point looked ahead to.

    Args:
        logits: (B, K).
        tangent: (B, K) derivative of the logits along that gradient.
        mixed: (B, K) targets, rows sum to one.

    Returns:
        (B,) in at least float32.
    """
    return -(mixed * _log_prob_derivative(logits, tangent)).sum(1)


def label_gradients(logits: Tensor, tangent: Tensor, target: Tensor, pseudo: Tensor) -> Tensor:
    """The effect on the trusted loss of trusting the given label more than the pseudo label.

    ``(B / alpha) dV / deps_n = sum_k (onehot(y_n) - g_n)_k d log p_nk`` of IEG; negative where the given label is the better one.

    Args:
        logits: (B, K).
        tangent: (B, K) derivative of the logits along the gradient of the trusted loss.
        target: (B,) int64 given labels.
        pseudo: (B, K) pseudo labels g.

    Returns:
        (B,) in at least float32.
    """
    slopes = _log_prob_derivative(logits, tangent)
    return slopes.gather(1, target[:, None]).squeeze(1) - (pseudo * slopes).sum(1)
