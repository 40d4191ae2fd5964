"""Forward passes in another mode, without gradients, or without updating batch statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from noisylab.types import Inputs

__all__ = ["forward_aside", "in_mode", "without_gradient"]


def forward_aside(network: nn.Module, inputs: Inputs) -> Tensor:
    """The outputs of a network, with gradients, from a pass that leaves its running batch statistics unchanged."""
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
    """Put a network and all its submodules in train or eval mode; afterwards each returns to its previous mode."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
