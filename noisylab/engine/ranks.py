"""Communication between processes: sums, means and gathered rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisylab.engine.stepping import Stepping
from noisylab.memory import SampleMemory
from noisylab.types import PlanBatch
from noisylab.upstream.lightning import QuickModule, layer_sync

__all__ = ["AcrossRanks", "average_over_ranks", "batch_statistics", "gather", "may_leave_out", "synchronized", "world_size"]


class AcrossRanks(QuickModule):
    """Sums, means and tables that equal those of a single process when several share a batch.

    The ranks' gradients are averaged, which the means and sums of a loss have to allow for. With one process everything here is
    the plain operation.

    Attributes:
        memory: per-sample tables, which each rank writes for its own samples.
    """

    memory: SampleMemory
    _stepped = False  # since the ranks were made equal

    # ---- parts of a loss

    def mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean of `values` (B,) over the samples in `mask` (B,), 0 where it is empty.

        Under several ranks, whose gradients are averaged, each divides its own sum by a rank's share of the count: the averaged
        gradient is then that of the whole batch.
        """
        if mask is None and self.trainer.world_size == 1:
            return values.mean() if len(values) else values.sum()
        mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        share = self.sum_over_ranks(mask.sum()).to(values.dtype) / self.trainer.world_size
        # not values * mask: an infinite value outside the mask would become NaN
        return torch.where(mask, values, torch.zeros_like(values)).sum() / share.clamp(min=1 / self.trainer.world_size)

    def mean_rows(self, values: Tensor) -> Tensor:
        """Mean (K,) over the samples of `values` (B, K), of all ranks.

        A function of it has, once the ranks' gradients are averaged, the gradient that one process would find.
        """
        if self.trainer.world_size == 1:
            return values.mean(0)
        size = self.sum_over_ranks(torch.full((), len(values), device=values.device))
        return self.whole_sum(values.sum(0) / size)

    def whole_sum(self, own: Tensor) -> Tensor:
        """The sum over all ranks of a value that each computed from its part of the batch; see `mean_rows`."""
        if self.trainer.world_size == 1:
            return own
        # the value of the whole batch; of its gradient every rank has its own part, which the averaging divides
        return self.sum_over_ranks(own.detach()) + self.trainer.world_size * (own - own.detach())

    # ---- numbers without a gradient

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        return values if self.trainer.world_size == 1 else self.gather(values).sum(0)

    def gather(self, values: Tensor) -> Tensor:
        """The stack (ranks, ...) of all ranks' tensors, which must be of one shape; detached."""
        return gather(values, self.trainer.world_size)

    def whole_batch(self, values: Tensor, share: int, fill: float) -> Tensor:
        """Values (B, ...) of this rank's part of a stream's batch, joined with those of all other ranks, in the batch's order.

        Args:
            values: (B,) or (B, K) of this rank.
            share: rows of the largest rank share, ``batch.share[stream]``.
            fill: stands where a rank's share is shorter; such places come last.

        Returns:
            (B_all, ...) detached; with one process the values themselves.
        """
        if self.trainer.world_size == 1:
            return values.detach()
        padded = F.pad(values.detach(), (*(0, 0) * (values.ndim - 1), 0, share - len(values)), value=fill)
        return self.gather(padded).transpose(0, 1).flatten(0, 1)

    def whole_stream(self, values: Tensor, batch: PlanBatch, stream: str) -> Tensor:
        """Values (B, ...) of this rank's samples of a stream, joined with those of all other ranks, with nothing filled up.

        Args:
            values: (B,) or (B, K) of this rank.
            batch: the step's.
            stream: its stream that `values` belong to.

        Returns:
            (B_all, ...) detached, in the order of the batch; see `own_share`.
        """
        if self.trainer.world_size == 1:
            return values.detach()
        rows = round(batch.weight_of(stream) * self.trainer.world_size)
        return self.whole_batch(values, batch.share[stream], 0)[:rows]

    def own_share(self, whole: Tensor, count: int) -> Tensor:
        """This rank's `count` entries of what `whole_batch` returned, or of something computed from it in the same order."""
        return whole[self.global_rank :: self.trainer.world_size][:count]

    # ---- state

    def watch_rows(self, batch: PlanBatch) -> None:
        """Note the rows that this rank may write, before a step."""
        self._stepped = True
        if self.trainer.world_size > 1:
            rows = torch.cat([F.pad(batch[n].index, (0, batch.share[n] - len(batch[n].index)), value=-1) for n in batch.streams])
            self.memory.watch(rows, sum(batch.share.values()))

    def equalize_ranks(self) -> None:
        """Bring in the memory rows that other ranks wrote and average the batch statistics, once after each step."""
        self.memory.share(self.gather)
        if self._stepped and self.trainer.world_size > 1:
            average_over_ranks(batch_statistics(self), self.trainer.world_size)
        self._stepped = False


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
    """The running means and variances of all normalization layers; other buffers may hold anything, masks for instance."""
    found = [getattr(module, name, None) for module in networks.modules() for name in ("running_mean", "running_var")]
    return [part for part in found if isinstance(part, Tensor)]


def world_size(module: L.LightningModule) -> int:
    """How many processes train a module; 1 where it has no Trainer yet."""
    try:
        return module.trainer.world_size
    except RuntimeError:  # how Lightning says so
        return 1


def synchronized(trainer: Any) -> bool:
    """Whether batch normalization is over the whole batch of all ranks, ``trainer.sync_batchnorm``."""
    return layer_sync(trainer) is not None


def may_leave_out(method: Stepping) -> bool:
    """Whether a backward pass of a method may skip parameters that another one reaches.

    So it is where several networks have a loss each, where the method takes its own steps, and where parameters beside those of
    the network are trained, in some epochs perhaps. DDP has to look for unused parameters then, once a step; in a method of one
    network and automatic optimization every step reaches every parameter.
    """
    networks = {id(parameter) for parameter in method.networks.parameters()}
    beside = any(parameter.requires_grad and id(parameter) not in networks for parameter in method.parameters())
    return not method.automatic_optimization or len(method.networks) > 1 or beside
