"""Networks whose weights are moving averages of another network's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from noisylab.upstream.torch import FollowsDevice, copy_all

__all__ = ["AveragedNetwork"]


class AveragedNetwork(FollowsDevice):
    """A copy of a network that follows it: ``m <- decay * m + (1 - decay) * f`` for every parameter.

    It starts equal to the network, has no gradients and belongs into no optimizer. Buffers, such as running batch statistics,
    are its own, written by its forward passes in train mode, unless `update` is told what else to do with them. Every rank has
    the same parameters, hence the same average.

    Where the weights have 16 bits the average is kept in float32 besides, since a small change of it would be rounded away.

    Args:
        network: what is copied and then followed.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> average = AveragedNetwork(network)
        >>> start = network.weight.item()
        >>> _ = nn.init.constant_(network.weight, start + 1)
        >>> average.update(network, decay=0.75)
        >>> round(average.network.weight.item() - start, 6)
        0.25
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # tensors by hand: deepcopy would copy their storages, which those without values (torch's fake tensors) do not have
        tensors: dict[int, Any] = {id(old): nn.Parameter(old.detach().clone(), False) for old in network.parameters()}
        tensors |= {id(old): old.detach().clone() for old in network.buffers()}
        self.network = copy.deepcopy(network, tensors)
        self._exact: list[Tensor] = []  # float32 values of what is averaged, where any of it has 16 bits

    def forward(self, inputs: Any) -> Any:
        """What the averaged network returns."""
        return self.network(inputs)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float, *, copy_buffers: bool = False, average_buffers: bool = False) -> None:
        """Move the average towards `network`.

        Args:
            network: the one that is followed.
            decay: share of the old average, in [0, 1]; 0 makes a copy.
            copy_buffers: also take over the network's buffers, for averages that never run in train mode and have no batch
                statistics of their own.
            average_buffers: also average the network's float buffers, as the authors of MixMatch do; others are copied.

        Raises:
            ValueError: if `decay` is not in [0, 1].
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], got {decay}")
        own, theirs = _averaged(self.network, average_buffers), _averaged(network, average_buffers)
        wide = [torch.promote_types(value.dtype, torch.float32) for value in own]
        if all(value.dtype == dtype for value, dtype in zip(own, wide, strict=True)):
            self._exact = []
            _move(own, theirs, decay)
        else:
            if len(self._exact) != len(own):
                self._exact = [value.to(dtype, copy=True) for value, dtype in zip(own, wide, strict=True)]
            moved = [value.to(dtype) for value, dtype in zip(theirs, wide, strict=True)]
            _move(self._exact, moved, decay)
            copy_all(own, self._exact)
        if copy_buffers or average_buffers:
            for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
                if copy_buffers or not mine.is_floating_point():
                    mine.copy_(other)

    def get_extra_state(self) -> list[Tensor]:
        """The float32 values of what is averaged in 16 bits, for ``state_dict``; an empty list for others."""
        return list(self._exact)

    def set_extra_state(self, state: list[Tensor]) -> None:
        """Take the float32 values of a checkpoint."""
        own = _averaged(self.network, buffers=True)  # parameters first, and without buffers the state ends with them
        self._exact = [saved.to(value.device, copy=True) for saved, value in zip(state, own, strict=False)]

    def follow(self, moved: Callable[[torch.device], torch.device]) -> None:
        """Keep the float32 values where the parameters are; never in their dtype."""
        self._exact = [value.to(moved(value.device)) for value in self._exact]


def _averaged(network: nn.Module, buffers: bool) -> list[Tensor]:
    """What an average is taken of: the parameters, and the float buffers where they are wanted."""
    found: list[Tensor] = list(network.parameters())
    return [*found, *(value for value in network.buffers() if value.is_floating_point())] if buffers else found


_mover = lru_cache(maxsize=16)(get_ema_multi_avg_fn)  # made once for each decay, not in every step


def _move(averages: list[Tensor], values: list[Tensor], decay: float) -> None:
    if averages:
        _mover(decay)(averages, values, None)
