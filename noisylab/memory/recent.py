"""The last values of a number that changes from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from noisylab.upstream.torch import FollowsDevice

__all__ = ["RecentValues"]


class RecentValues(FollowsDevice):
    """The last values of a number, float32 on the device of the method and in its checkpoint; nothing is read back.

    Args:
        length: how many are kept, at least 1.

    >>> recent = RecentValues(2)
    >>> for value in (1.0, 2.0, 4.0):
    ...     recent.add(torch.tensor(value))
    >>> recent.full, recent.mean().item()
    (True, 3.0)
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self._values = torch.zeros(length)
        self._seen = 0

    def add(self, value: Tensor) -> None:
        """Add a scalar, detached; the oldest is forgotten."""
        self._values[self._seen % len(self._values)].copy_(value.detach())
        self._seen += 1

    @property
    def full(self) -> bool:
        """Whether as many have been added as are kept."""
        return self._seen >= len(self._values)

    def mean(self) -> Tensor:
        """() float32 mean of those that are kept; 0 where there are none."""
        return self._values.sum() / max(min(self._seen, len(self._values)), 1)

    def reset(self) -> None:
        """Forget all, at the start of a new fit."""
        self._values.zero_()
        self._seen = 0

    def get_extra_state(self) -> dict[str, Any]:
        """The values and how many have been seen, for ``state_dict``."""
        return {"values": self._values, "seen": self._seen}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take the values of a checkpoint.

        Raises:
            ValueError: where it keeps another number of them.
        """
        if len(state["values"]) != len(self._values):
            raise ValueError(
                f"the checkpoint keeps the last {len(state['values'])} values, this method {len(self._values)}; load it with the "
                "settings that it was written with"
            )
        self._values = state["values"].to(self._values.device, torch.float32, copy=True)
        self._seen = int(state["seen"])

    def follow(self, moved: Callable[[torch.device], torch.device]) -> None:
        """Keep the values where the method is; never in its dtype."""
        self._values = self._values.to(moved(self._values.device))
