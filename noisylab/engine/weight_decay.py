"""Weight decay by hand, for methods whose authors shrink more than the weights."""

from __future__ import annotations

import torch
from torch import nn

from noisylab.upstream.torch import multiply_all

__all__ = ["shrink_state"]


@torch.no_grad()
def shrink_state(network: nn.Module, share: float) -> None:
    """Multiply every float tensor of a network's ``state_dict`` by ``1 - share``, running batch statistics included.

    So the authors' code of MixMatch does after each step, with ``share = 0.02 lr`` whatever the gradient was. A tensor that
    stands in it by two names is multiplied once.

    Args:
        network: whose parameters and buffers are changed in place.
        share: in [0, 1); 0 does nothing.

    Raises:
        ValueError: if `share` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got {share}")
    if share:
        state = {id(value): value for value in network.state_dict(keep_vars=True).values() if value.is_floating_point()}
        multiply_all(list(state.values()), 1 - share)
