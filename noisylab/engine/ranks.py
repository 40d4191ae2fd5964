"""What several processes exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from noisylab.methods.base import NoisyLabelMethod

__all__ = ["average_over_ranks", "batch_statistics", "gather", "may_leave_out", "synchronized"]


def gather(values: Tensor, world_size: int) -> Tensor:
    """The stack (ranks, ...) of all ranks' tensors, which must be of one shape; detached."""
    values = values.detach().contiguous()
    parts = [torch.empty_like(values) for _ in range(world_size)]
    torch.distributed.all_gather(parts, values)
    return torch.stack(parts)


def average_over_ranks(statistics: Sequence[Tensor], world_size: int) -> None:
    """Set running batch statistics to their mean over the ranks, in place, in one exchange.

    A running mean of batch statistics is linear in them, so averaging it after every step gives the running mean of the ranks'
    averaged statistics: that of the whole batch, but for the part of the variance that lies between the ranks' means.
    """
    if not statistics:
        return
    dtype = torch.float64 if any(part.dtype == torch.float64 for part in statistics) else torch.float32
    flat = torch.cat([part.detach().to(dtype).flatten() for part in statistics]) / world_size
    torch.distributed.all_reduce(flat)
    for part, mean in zip(statistics, flat.split([part.numel() for part in statistics]), strict=True):
        part.copy_(mean.view_as(part))


def batch_statistics(networks: nn.Module) -> list[Tensor]:
    """The running means and variances of all normalisation layers; other buffers may hold anything, masks for instance."""
    found = [getattr(module, name, None) for module in networks.modules() for name in ("running_mean", "running_var")]
    return [part for part in found if isinstance(part, Tensor)]


def synchronized(trainer: Any) -> bool:
    """Whether batch normalization is over the whole batch of all ranks, ``trainer.sync_batchnorm``."""
    return getattr(trainer.strategy, "_layer_sync", None) is not None


def may_leave_out(method: NoisyLabelMethod) -> bool:
    """Whether a backward pass of a method may leave out parameters that another one reaches.

    So it is where several networks have a loss each, where the method takes its own steps, and where parameters beside those of
    the network are trained, in some epochs perhaps. DDP has to look for unused parameters then, once a step; in a method of one
    network and automatic optimization every step reaches every parameter.
    """
    networks = {id(parameter) for parameter in method.networks.parameters()}
    beside = any(parameter.requires_grad and id(parameter) not in networks for parameter in method.parameters())
    return not method.automatic_optimization or len(method.networks) > 1 or beside
