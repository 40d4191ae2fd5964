"""Networks whose weights are moving averages of another's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["AveragedNetwork"]


class AveragedNetwork(nn.Module):
    """A copy of a network that follows it: ``m <- decay * m + (1 - decay) * f`` for every parameter.

    It starts equal to the network, has no gradients and belongs into no optimizer. Buffers, such as running batch statistics,
    are its own: forward passes in train mode write them, nothing averages them. Every rank has the same parameters, hence the
    same average.

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
        self._exact: list[Tensor] = []  # float32 values of 16-bit parameters; empty for others

    def forward(self, inputs: Any) -> Any:
        """What the averaged network returns."""
        return self.network(inputs)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float, *, copy_buffers: bool = False) -> None:
        """Move the average towards `network`.

        Args:
            network: the one that is followed.
            decay: share of the old average, in [0, 1]; 0 makes a copy.
            copy_buffers: also take over the network's buffers, for averages that never run in train mode and have no batch
                statistics of their own.

        Raises:
            ValueError: if `decay` is not in [0, 1].
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], got {decay}")
        own: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        wide = [torch.promote_types(value.dtype, torch.float32) for value in own]
        if all(value.dtype == dtype for value, dtype in zip(own, wide, strict=True)):
            self._exact = []
            torch._foreach_lerp_(own, theirs, 1 - decay)
        else:
            if not self._exact:
                self._exact = [value.to(dtype, copy=True) for value, dtype in zip(own, wide, strict=True)]
            moved = [value.to(dtype) for value, dtype in zip(theirs, wide, strict=True)]
            torch._foreach_lerp_(self._exact, moved, 1 - decay)
            torch._foreach_copy_(own, self._exact)
        if copy_buffers:
            for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
                mine.copy_(other)

    def get_extra_state(self) -> list[Tensor]:
        """The float32 values of 16-bit parameters, for ``state_dict``; an empty list for others."""
        return list(self._exact)

    def set_extra_state(self, state: list[Tensor]) -> None:
        """Take the float32 values of a checkpoint."""
        self._exact = [saved.to(own.device, copy=True) for saved, own in zip(state, self.network.parameters(), strict=False)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # follow the device of `.to()`, never its dtype
        self._exact = [value.to(fn(torch.zeros(0, device=value.device)).device) for value in self._exact]
        return super()._apply(fn, recurse)
