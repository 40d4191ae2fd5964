"""Batch normalization over the whole batch of all processes, on any device."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn

__all__ = ["SyncNorm", "WholeBatchNorm"]


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient.contiguous())


class WholeBatchNorm(nn.Module):
    """Batch normalization with the mean and variance of the whole batch of all ranks, whose shares may differ in size.

    torch's own ``SyncBatchNorm`` does the same on CUDA devices alone. With one process, and in eval mode, it is torch's batch
    normalization. Every rank must pass its share through the layer as often as the others, an empty one, too. Statistics are
    computed in float32 at least.

    The part that torch's layers for any number of dimensions have in common; it stands before one of them in the list of parents.
    """

    ndims: ClassVar[tuple[int, ...]]  # of the inputs, as the layer behind it wants them
    eps: float
    affine: bool
    momentum: float | None
    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) normalized by channel."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not self.training or not distributed or torch.distributed.get_world_size() == 1:
            return super().forward(input)
        if input.ndim not in self.ndims:
            wanted = " or ".join(map(str, self.ndims))
            raise ValueError(f"{type(self).__mro__[2].__name__} takes inputs of {wanted} dimensions, got {tuple(input.shape)}")
        wide = input if input.dtype == torch.float64 else input.float()
        over = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        own = torch.cat([wide.sum(over), wide.new_full((1,), input.numel() / input.shape[1])])
        total: Tensor = _Sum.apply(own)
        count, mean = total[-1].detach(), total[:-1] / total[-1].detach()
        centered = wide - mean.view(shape)
        variance: Tensor = _Sum.apply((centered * centered).sum(over)) / count
        self._remember(mean.detach(), variance.detach(), count)
        normal = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.to(wide.dtype).view(shape) + self.bias.to(wide.dtype).view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)


class _Whole1d(WholeBatchNorm, nn.BatchNorm1d):
    ndims = (2, 3)


class _Whole2d(WholeBatchNorm, nn.BatchNorm2d):
    ndims = (4,)


class _Whole3d(WholeBatchNorm, nn.BatchNorm3d):
    ndims = (5,)


_WHOLE: dict[type, type] = {nn.BatchNorm1d: _Whole1d, nn.BatchNorm2d: _Whole2d, nn.BatchNorm3d: _Whole3d}
_PLAIN = {whole: plain for plain, whole in _WHOLE.items()}


class SyncNorm(LayerSync):
    """Implements ``trainer.sync_batchnorm``: layers change their class and stay the same objects.

    So averaged copies, optimizers and whoever else holds a layer or its parameters go on holding it.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Switch all batch normalization of a model to the whole batch."""
        for layer in model.modules():
            layer.__class__ = _WHOLE.get(type(layer), type(layer))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        for layer in model.modules():
            layer.__class__ = _PLAIN.get(type(layer), type(layer))
        return model
