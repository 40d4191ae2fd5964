"""The state of a network in its best epoch, kept for the stage that follows."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

__all__ = ["BestNetwork"]


class BestNetwork(nn.Module):
    """A copy of a network at its highest score; the first of equal scores counts.

    It has no gradients, belongs into no optimizer and is part of the method's ``state_dict``, score and epoch included, so that
    a resumed run knows the best epoch before the interruption.

    Args:
        network: what is copied; nothing is kept of it before the first `offer`.

    Attributes:
        score: of the state that is kept; -inf before the first.
        epoch: of that state; -1 before the first.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> best = BestNetwork(network)
        >>> best.offer(network, 0.5, epoch=0), best.offer(network, 0.5, epoch=1), best.epoch
        (True, False, 0)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # tensors by hand: deepcopy would copy their storages, which those without values (torch's fake tensors) do not have
        tensors: dict[int, Any] = {id(old): nn.Parameter(old.detach().clone(), False) for old in network.parameters()}
        tensors |= {id(old): old.detach().clone() for old in network.buffers()}
        self.network = copy.deepcopy(network, tensors)
        self.reset()

    def reset(self) -> None:
        """Forget the score: the next state offered is the best."""
        self.score, self.epoch = -math.inf, -1

    @torch.no_grad()
    def offer(self, network: nn.Module, score: float, epoch: int) -> bool:
        """Keep the state of `network` if its `score` is a new maximum, and return whether it was kept; NaN never is."""
        if not score > self.score:
            return False
        self.network.load_state_dict(network.state_dict())
        self.score, self.epoch = score, epoch
        return True

    @torch.no_grad()
    def restore(self, network: nn.Module) -> None:
        """Load the kept state into `network`; its parameters stay the same objects, so optimizers keep working.

        Raises:
            ValueError: if nothing was kept.
        """
        if self.epoch < 0:
            raise ValueError("no epoch was scored, so there is no best network to continue with; validate once per stage or more")
        network.load_state_dict(self.network.state_dict())

    def get_extra_state(self) -> dict[str, float]:
        """Score and epoch, for ``state_dict``."""
        return {"score": self.score, "epoch": float(self.epoch)}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Take score and epoch of a checkpoint."""
        self.score, self.epoch = float(state["score"]), int(state["epoch"])
