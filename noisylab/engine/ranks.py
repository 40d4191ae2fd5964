"""What several processes exchange."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["average_over_ranks", "gather"]


def gather(values: Tensor, world_size: int) -> Tensor:
    """The stack (ranks, ...) of all ranks' tensors, which must be of one shape; detached."""
    values = values.detach().contiguous()
    parts = [torch.empty_like(values) for _ in range(world_size)]
    torch.distributed.all_gather(parts, values)
    return torch.stack(parts)


def average_over_ranks(buffers: Iterable[Tensor], world_size: int) -> None:
    """Set floating-point tensors to their mean over the ranks, in place, in one exchange.

    A running mean of batch statistics is linear in them, so averaging it after every step gives the running mean of the ranks'
    averaged statistics: that of the whole batch, but for the part of the variance that lies between the ranks' means.
    """
    floats = [buffer for buffer in buffers if buffer.is_floating_point()]
    if not floats:
        return
    flat = torch.cat([buffer.detach().float().flatten() for buffer in floats])
    torch.distributed.all_reduce(flat)
    for buffer, part in zip(floats, (flat / world_size).split([buffer.numel() for buffer in floats]), strict=True):
        buffer.copy_(part.view_as(buffer))
