"""Detects methods whose state has become NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from noisylab.engine.ranks import batch_statistics

__all__ = ["refuse_diverged"]


def refuse_diverged(networks: Mapping[str, nn.Module], tables: Mapping[str, Tensor], epoch: int, precision: str) -> None:
    """Raise an error if training has diverged; waits for the device once.

    Args:
        networks: by name; their parameters and running batch statistics are looked at.
        tables: of the sample memory, by name.
        epoch: 0-based, for the message.
        precision: of the Trainer, for the message.

    Raises:
        ValueError: naming the first that holds a value that is NaN or infinite.
    """
    largest = {f"the weights of the network {name!r} are": _largest(network.parameters()) for name, network in networks.items()}
    for name, network in networks.items():
        if statistics := batch_statistics(network):
            largest[f"the batch statistics of the network {name!r} are"] = _largest(statistics)
    largest |= {f"values of the memory field {name!r} are": _largest([table]) for name, table in tables.items() if table.numel()}
    for what, value in zip(largest, torch.stack(list(largest.values())).tolist(), strict=True):
        if not math.isfinite(value):
            raise ValueError(
                f"{what} nan or infinite in epoch {epoch}: training diverged, or numbers became too large for the precision "
                f"{precision}. Lower the optimizer's lr, limit the gradient (clip_norm where the method has it, else "
                "trainer.gradient_clip_val) or use more precision (bf16-mixed in place of 16-mixed); the checkpoints hold the "
                "state before"
            )


def _largest(tensors: Iterable[Tensor]) -> Tensor:
    """The largest magnitude; NaN and infinity stay what they are."""
    return torch.nn.utils.get_total_norm([tensor.detach() for tensor in tensors], norm_type=math.inf).float()
