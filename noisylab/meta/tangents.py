"""A forward pass that carries a derivative along with each value."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import enable_reentrant_dispatch
from torch.utils.weak import WeakTensorKeyDictionary

from noisylab.types import Inputs
from noisylab.upstream.torch import (
    TorchDispatchMode,
    below_dispatch_modes,
    tangents_on,
    tree_leaves,
    tree_map_only,
    written_arguments,
)

__all__ = ["tangent_forward"]

_STATISTICS = ("running_mean", "running_var")  # what the loss does not depend on


class _Tangents(TorchDispatchMode):
    """Carries tangents through a forward pass, below the level at which the backward pass is recorded.

    torch's own dual numbers are recorded with their tangents, which makes a graph three times the size; here every operation is
    done once, as a dual number of its own that ends with it, and only values are recorded. Casts of autocast come as operations,
    so that a tangent has the type of its value; random masks are drawn once for both.

    Args:
        tangents: pairs of a tensor and its tangent, of one shape.
    """

    def __init__(self, tangents: Iterable[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.of = WeakTensorKeyDictionary()
        for value, tangent in tangents:
            self.of[value] = tangent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do one operation, and its derivative where an input has a tangent."""
        kwargs = kwargs or {}
        if not any(leaf in self.of for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)):
            return func(*args, **kwargs)
        self._refuse_lost(func, args)
        given: dict[int, tuple[Tensor, Tensor]] = {}
        found: list[tuple[Tensor, Tensor | None]] = []

        def dual(value: Tensor) -> Tensor:
            tangent = self.of.get(value)
            if tangent is None:
                return value
            made = forward_ad.make_dual(value.detach(), tangent)
            given[id(made)] = value, made
            return made

        def fresh(result: Tensor) -> Tensor:
            value, tangent = found.pop(0)
            # a result in place is what was given; others may not leave as they are, since autograd knows them already
            value = given[id(result)][0] if id(result) in given else value.detach()
            if tangent is not None:  # some rules answer in the type of float32 weights
                self.of[value] = tangent.to(value.dtype)
            return value

        # autograd's own level again, but not this mode's; and also within functions that switch tangents off
        with enable_reentrant_dispatch(), below_dispatch_modes(), torch.no_grad(), tangents_on():
            result = func(*tree_map_only(Tensor, dual, args), **tree_map_only(Tensor, dual, kwargs))
            found += [forward_ad.unpack_dual(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return tree_map_only(Tensor, fresh, result)

    def _refuse_lost(self, func: Any, args: tuple[Any, ...]) -> None:
        """A tensor without a tangent that is written to in place would stay without, and so would what it is a view of."""
        for name, value in written_arguments(func, args):
            tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
            if name not in _STATISTICS and any(tensor not in self.of for tensor in tensors):
                raise NotImplementedError(f"{func} writes a value that depends on the weights into a tensor that did not")


def tangent_forward(
    network: nn.Module, inputs: Inputs, direction: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Logits and their derivative along a direction of the weights, from one forward pass.

    The logits have the graph that an ordinary pass would have given them, and running batch statistics change as in one. What the
    network itself computes under ``torch.no_grad()`` is differentiated along the direction none the less; ``detach()`` is not.

    Args:
        network: called with `inputs`.
        inputs: B samples.
        direction: tangent of each parameter by name; parameters that it leaves out stand still.
        state: parameters and buffers to use in place of the network's own, by name.

    Returns:
        (B, K) logits, and (B, K) d/dt of the logits at theta + t * direction, without a graph.

    Raises:
        NotImplementedError: for an operation without a rule for tangents (see `noisylab.meta.choose_form`).
    """
    _register_rules()
    values: dict[str, Tensor] = dict(network.named_parameters()) if state is None else dict(state)
    torch.clear_autocast_cache()  # casts that were made before carry no tangents
    mode = _Tangents((values[name], tangent.to(values[name].dtype)) for name, tangent in direction.items())
    with sdpa_kernel(SDPBackend.MATH), mode:  # the fused kernels of attention have no rule
        logits = network(inputs) if state is None else functional_call(network, values, (inputs,))
    tangent = mode.of.get(logits)
    return logits, torch.zeros_like(logits, requires_grad=False) if tangent is None else tangent.detach()


@cache
def _register_rules() -> None:
    """What `make_dual` would do at its first call, without the warning that torch then gives of itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        with forward_ad.dual_level():
            value = torch.zeros(1, dtype=torch.float32)
            forward_ad.make_dual(value, value.clone())
