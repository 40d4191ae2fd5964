"""Networks that have become NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["refuse_diverged"]


def refuse_diverged(networks: Mapping[str, nn.Module], epoch: int, precision: str) -> None:
    """Stop a training that has diverged; waits for the device once.

    Args:
        networks: by name.
        epoch: 0-based, for the message.
        precision: of the Trainer, for the message.

    Raises:
        ValueError: naming the first network with a weight that is NaN or infinite.
    """
    largest = {name: _largest(network) for name, network in networks.items()}
    for name, value in zip(largest, torch.stack(list(largest.values())).tolist(), strict=True):
        if not math.isfinite(value):
            raise ValueError(
                f"the weights of the network {name!r} are nan or infinite in epoch {epoch}: training diverged. Lower the "
                "optimizer's lr, limit the gradient (the method's clip_norm or trainer.gradient_clip_val), or use more precision "
                f"than {precision}; the checkpoints hold the state before"
            )


def _largest(network: nn.Module) -> Tensor:
    """The largest magnitude of all parameters; NaN and infinity stay what they are."""
    parameters = [parameter.detach() for parameter in network.parameters()]
    return torch.nn.utils.get_total_norm(parameters, norm_type=math.inf).float()
