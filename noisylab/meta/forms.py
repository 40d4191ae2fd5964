"""Gradients, and derivatives of the logits along them, in a precision and form that work for the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from noisylab.losses import cross_entropy, soft_cross_entropy
from noisylab.meta.scores import at_least_float32
from noisylab.meta.tangents import tangent_forward
from noisylab.types import Inputs, map_inputs

__all__ = ["Form", "choose_form", "derivative", "gradient", "gradient_of"]

_AGREES = 0.999  # cosine between weights of the precision in use and those of float32
_STEP = {torch.float32: 3e-4, torch.float64: 1e-4}  # length of the central difference: longer ones cross kinks


@dataclass(frozen=True)
class Form:
    """A way to compute derivatives of the logits along a direction.

    Args:
        precision: "training", as the forward passes of training are; "float32", at least that and without autocast.
        rule: "forward", with tangents; "difference", from two forward passes on either side, in at least float32.
    """

    precision: Literal["training", "float32"] = "training"
    rule: Literal["forward", "difference"] = "forward"

    @property
    def shares(self) -> bool:
        """Whether the pass that computes the derivatives can also be used for the update's backward pass."""
        return self == Form()


def gradient(
    network: nn.Module,
    inputs: Inputs,
    target: Tensor,
    *,
    at: Mapping[str, Tensor] | None = None,
    form: Form = Form(),
    count: int | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient of the cross-entropy of a batch; the network's stored gradients and batch statistics do not change.

    Args:
        network: in train mode, as a rule.
        inputs: M samples.
        target: (M,) int64 labels, or (M, K) distributions.
        at: parameters by name to use in place of the network's own.
        form: of which the precision counts.
        count: what the sum of the losses is divided by; None for M.

    Returns:
        The gradient of the loss by the name of the parameter, 0 for parameters that it does not depend on; and the loss.
    """
    with _precision(network, form), torch.enable_grad():
        names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        state = _state(network, form, at)
        points = [state[name].detach().requires_grad_() for name in names]
        state |= dict(zip(names, points, strict=True))
        logits = functional_call(network, state, (_inputs(inputs, form),))
        losses = (soft_cross_entropy if target.is_floating_point() else cross_entropy)(logits, target, reduction="none")
        loss = losses.sum() / (len(target) if count is None else count)
        found = torch.autograd.grad(loss, points, allow_unused=True, materialize_grads=True)
    torch.clear_autocast_cache()
    return dict(zip(names, found, strict=True)), loss.detach()


def gradient_of(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of a loss by parameter name, back through an existing graph, which is kept.

    Args:
        loss: a scalar with its graph.
        parameters: by name; those without a gradient of their own are left out of the result.
    """
    trained = {name: value for name, value in parameters.items() if value.requires_grad}
    found = torch.autograd.grad(loss, list(trained.values()), retain_graph=True, allow_unused=True, materialize_grads=True)
    return dict(zip(trained, found, strict=True))


def derivative(network: nn.Module, inputs: Inputs, direction: Mapping[str, Tensor], form: Form = Form()) -> tuple[Tensor, Tensor]:
    """Logits and their derivative along a direction of the weights, without a graph; batch statistics do not change.

    Args:
        network: called with `inputs`.
        inputs: B samples.
        direction: a tensor for each parameter by name.
        form: how.

    Returns:
        (B, K) logits, and (B, K) d/dt of the logits at theta + t * direction.
    """
    inputs = _inputs(inputs, form)
    with torch.no_grad(), _precision(network, form):
        if form.rule == "forward":
            return tangent_forward(network, inputs, direction, _state(network, form))
        length = torch.stack([tangent.double().square().sum() for tangent in direction.values()]).sum().sqrt()
        ends = []
        for sign, again in ((1, _same_draws()), (-1, nullcontext())):
            state = _state(network, form)
            dtype = next(iter(state.values())).dtype
            step = sign * _STEP[dtype] / length.clamp(min=torch.finfo(dtype).tiny)
            state |= {name: state[name] + (step * tangent).to(dtype) for name, tangent in direction.items()}
            with again:
                ends.append(functional_call(network, state, (inputs,)))
        upper, lower = ends
        return (upper + lower) / 2, ((upper - lower) * (length / (2 * _STEP[dtype])).to(upper.dtype)).to(upper.dtype)


@contextmanager
def _same_draws() -> Iterator[None]:
    """Random numbers that the next block draws again."""
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        yield


def choose_form(
    network: nn.Module,
    inputs: Inputs,
    direction: Mapping[str, Tensor],
    weights: Callable[[Tensor, Tensor], Tensor],
    *,
    scaled: bool = False,
) -> tuple[Form, str]:
    """The cheapest form that works for a network, found by trying; random state and batch statistics do not change.

    Tried are: the precision of training (but never float16), which has to agree with float32; float32 without autocast; a
    central difference, where a layer has no rule for tangents.

    Args:
        network: in the mode of training.
        inputs: B samples.
        direction: a tensor for each parameter by name.
        weights: (B,) weights from (logits, their derivative), of which the cosine is taken.
        scaled: whether training takes place in float16 with a gradient scaler.

    Returns:
        The form, and why no cheaper one; empty where it is the cheapest.
    """
    narrow = scaled or torch.is_autocast_enabled(_device(network).type) or _dtype(network).itemsize < 4
    reason = ""
    with _same_draws():
        if not narrow:
            try:
                derivative(network, inputs, direction)
            except torch.OutOfMemoryError:
                raise
            except (NotImplementedError, RuntimeError) as error:
                return Form("training", "difference"), _first_line(error)
            return Form(), ""
        exact = Form("float32")
        try:
            wide = derivative(network, inputs, direction, exact)
        except torch.OutOfMemoryError:
            raise
        except (NotImplementedError, RuntimeError) as error:
            return Form("float32", "difference"), _first_line(error)
    if scaled:
        return exact, "float16 has too small a range"
    with _same_draws():
        try:
            found = derivative(network, inputs, direction)
        except torch.OutOfMemoryError:
            raise
        except (NotImplementedError, RuntimeError) as error:
            return exact, _first_line(error)
    told = bool(weights(*wide).any())  # else no sample of the batch has a weight: compare what weights are made of
    cosine = _cosine(weights(*found), weights(*wide)) if told else _cosine(found[1], wide[1])
    if cosine < _AGREES:
        reason = f"the weights of 16 bits have a cosine of {cosine:.4f} with those of 32"
    return (exact if reason else Form()), reason


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.double().flatten(), other.double().flatten(), 0))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _dtype(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype


def _is_wide(form: Form) -> bool:
    return form.precision == "float32" or form.rule == "difference"


def _inputs(inputs: Inputs, form: Form) -> Inputs:
    return map_inputs(at_least_float32, inputs) if _is_wide(form) else inputs


def _precision(network: nn.Module, form: Form) -> AbstractContextManager[Any]:
    return torch.autocast(_device(network).type, enabled=False) if _is_wide(form) else nullcontext()


def _state(network: nn.Module, form: Form, at: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Parameters and copies of the buffers by name, which a forward pass may write."""
    convert = at_least_float32 if _is_wide(form) else lambda values: values
    parameters = {name: convert(value.detach()) for name, value in network.named_parameters()}
    given = {} if at is None else {name: convert(value.detach()) for name, value in at.items()}
    return {**parameters, **given, **{name: convert(value).clone() for name, value in network.named_buffers()}}
