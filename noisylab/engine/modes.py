"""Networks in another mode, without gradients, or without a trace, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from noisylab.types import Inputs

__all__ = ["forward_aside", "in_mode", "without_gradient"]


def forward_aside(network: nn.Module, inputs: Inputs) -> Tensor:
    """What a network returns, with gradients, in a pass that does not count in its running batch statistics."""
    return functional_call(network, {name: value.clone() for name, value in network.named_buffers()}, (inputs,))


@contextmanager
def without_gradient() -> Iterator[None]:
    """``torch.no_grad()`` for forward passes of networks that are trained in the same step.

    Up to some release after 2.6 torch keeps the 16-bit copies of weights that autocast makes here, and a later pass with
    gradients would use these copies, which have none.
    """
    with torch.no_grad():
        yield
    torch.clear_autocast_cache()


@contextmanager
def in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """A network and all modules below it in train or eval mode; afterwards each is in its own mode again."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
