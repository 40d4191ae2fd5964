"""What a step on each training sample would do to the loss on a trusted batch, at the price of a few forward passes.

Every weight that meta-reweighting gives a sample is a derivative of that sample's loss along one direction v in the space of the
weights, the gradient of the trusted batch's loss: d/dt l_i(theta + t v) at t = 0. One forward pass that carries a tangent beside
each value gives it for all samples at once; nothing is differentiated twice and no second network is built.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import enable_reentrant_dispatch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from noisylab.losses import cross_entropy, soft_cross_entropy
from noisylab.types import Inputs, map_inputs

__all__ = [
    "Form",
    "choose_form",
    "derivative",
    "gradient",
    "label_gradients",
    "look_ahead",
    "loss_derivative",
    "tangent_forward",
    "weight_gradients",
]

_AGREES = 0.999  # cosine between weights of the precision in use and those of float32
_STEP = {torch.float32: 3e-4, torch.float64: 1e-4}  # length of the central difference: longer ones cross kinks


_STATISTICS = ("running_mean", "running_var")  # what the loss does not depend on


@dataclass(frozen=True)
class Form:
    """How derivatives of the logits along a direction are found.

    Args:
        precision: "training", as the forward passes of training are; "float32", at least that and without autocast.
        rule: "forward", with tangents; "difference", from two forward passes on either side, in at least float32.
    """

    precision: Literal["training", "float32"] = "training"
    rule: Literal["forward", "difference"] = "forward"

    @property
    def shares(self) -> bool:
        """Whether the pass that finds the derivatives can be the one that the update goes back through."""
        return self == Form()


# ---- tangents


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
        with enable_reentrant_dispatch(), _modes_left(), torch.no_grad(), _tangents_on():
            result = func(*tree_map_only(Tensor, dual, args), **tree_map_only(Tensor, dual, kwargs))
            found += [forward_ad.unpack_dual(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return tree_map_only(Tensor, fresh, result)

    def _refuse_lost(self, func: Any, args: tuple[Any, ...]) -> None:
        """A tensor without a tangent that is written to in place would stay without, and so would what it is a view of."""
        if func._schema.is_mutable:
            for place, value in zip(func._schema.arguments, args, strict=False):
                written = place.alias_info is not None and place.alias_info.is_write and place.name not in _STATISTICS
                if written and any(leaf not in self.of for leaf in tree_leaves(value) if isinstance(leaf, Tensor)):
                    raise NotImplementedError(f"{func} writes a value that depends on the weights into a tensor that did not")


@contextmanager
def _modes_left() -> Iterator[None]:
    """Within a mode's own handler: other modes stay, and without any torch must be told that there is none."""
    if _get_current_dispatch_mode_stack():
        yield
    else:
        with torch._C._DisableTorchDispatch():
            yield


@contextmanager
def _tangents_on() -> Iterator[None]:
    with forward_ad._set_fwd_grad_enabled(True), forward_ad.dual_level():
        yield


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
        NotImplementedError: for an operation without a rule for tangents (see `choose_form`).
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


# ---- gradients and derivatives in the form that works


def gradient(
    network: nn.Module,
    inputs: Inputs,
    target: Tensor,
    *,
    at: Mapping[str, Tensor] | None = None,
    form: Form = Form(),
    count: int | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient of the cross-entropy of a batch, which leaves gradients and batch statistics of the network as they are.

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


def derivative(network: nn.Module, inputs: Inputs, direction: Mapping[str, Tensor], form: Form = Form()) -> tuple[Tensor, Tensor]:
    """Logits and their derivative along a direction of the weights, without a graph; batch statistics stay as they are.

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
    """The cheapest form that works for a network, found by trying; random state and batch statistics stay as they are.

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


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32)) if values.is_floating_point() else values


def _is_wide(form: Form) -> bool:
    return form.precision == "float32" or form.rule == "difference"


def _inputs(inputs: Inputs, form: Form) -> Inputs:
    return map_inputs(_wide, inputs) if _is_wide(form) else inputs


def _precision(network: nn.Module, form: Form) -> AbstractContextManager[Any]:
    return torch.autocast(_device(network).type, enabled=False) if _is_wide(form) else nullcontext()


def _state(network: nn.Module, form: Form, at: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Parameters and copies of the buffers by name, which a forward pass may write."""
    convert = _wide if _is_wide(form) else lambda values: values
    parameters = {name: convert(value.detach()) for name, value in network.named_parameters()}
    given = {} if at is None else {name: convert(value.detach()) for name, value in at.items()}
    return {**parameters, **given, **{name: convert(value).clone() for name, value in network.named_buffers()}}


# ---- what the derivatives say


def loss_derivative(logits: Tensor, tangent: Tensor, target: Tensor) -> Tensor:
    """d/dt of the cross-entropy of each sample along a direction, ``<softmax(z) - onehot(y), dz>``.

    Along the gradient of a trusted batch's loss this is the meta-gradient of L2R: what a sample's weight does to that loss in one
    step of plain gradient descent from weights of 0, with the sign turned and per unit of the step's rate (Ren, Zeng, Yang and
    Urtasun, ICML 2018, equation 12).

    Args:
        logits: (B, K).
        tangent: (B, K) derivative of the logits.
        target: (B,) int64 labels.

    Returns:
        (B,) in at least float32; positive where a step on the sample lowers the trusted loss.
    """
    logits, tangent = _wide(logits.detach()), _wide(tangent)
    mean = (F.softmax(logits, 1) * tangent).sum(1)
    return mean - tangent.gather(1, target[:, None]).squeeze(1)


def _log_prob_derivative(logits: Tensor, tangent: Tensor) -> Tensor:
    """(B, K) d/dt of log softmax."""
    logits, tangent = _wide(logits.detach()), _wide(tangent)
    return tangent - (F.softmax(logits, 1) * tangent).sum(1, keepdim=True)


def look_ahead(
    parameters: Mapping[str, Tensor],
    slope: Mapping[str, Tensor],
    *,
    rate: float,
    momentum: float = 0.0,
    velocity: Mapping[str, Tensor] | None = None,
    decay: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """Where one step of gradient descent would lead: ``theta - rate * (momentum * velocity + slope + decay * theta)``.

    Args:
        parameters: theta by name.
        slope: gradient of the loss by name.
        rate: of the step.
        momentum: share of the velocity that is kept.
        velocity: of the real optimizer, by name; parameters that it leaves out have none yet.
        decay: weight decay by name; 0 where it is left out.
    """
    velocity, decay = velocity or {}, decay or {}
    moved = {}
    for name, step in slope.items():
        value = parameters[name].detach().to(step.dtype)
        change = step + decay[name] * value if decay.get(name) else step
        if name in velocity:
            change = change + momentum * velocity[name].to(step.dtype)
        moved[name] = value - rate * change
    return moved


def weight_gradients(logits: Tensor, tangent: Tensor, mixed: Tensor) -> Tensor:
    """What each sample's weight does to the trusted loss, with the sign turned and per unit of the step's rate.

    ``-(1 / alpha) dV / da_n = -sum_k m_nk d log p_nk`` for the mixed targets m of IEG (Zhang, Zhang, Arik, Lee and Pfister, CVPR
    2020, section 3.2), where d is the derivative along the gradient of V at the point looked ahead to.

    Args:
        logits: (B, K).
        tangent: (B, K) derivative of the logits along that gradient.
        mixed: (B, K) targets, rows sum to one.

    Returns:
        (B,) in at least float32.
    """
    return -(mixed * _log_prob_derivative(logits, tangent)).sum(1)


def label_gradients(logits: Tensor, tangent: Tensor, target: Tensor, pseudo: Tensor) -> Tensor:
    """What trusting the given label more than the pseudo label does to the trusted loss.

    ``(B / alpha) dV / deps_n = sum_k (onehot(y_n) - g_n)_k d log p_nk`` of IEG; negative where the given label is the better one.

    Args:
        logits: (B, K).
        tangent: (B, K) derivative of the logits along the gradient of the trusted loss.
        target: (B,) int64 given labels.
        pseudo: (B, K) pseudo labels g.

    Returns:
        (B,) in at least float32.
    """
    slopes = _log_prob_derivative(logits, tangent)
    return slopes.gather(1, target[:, None]).squeeze(1) - (pseudo * slopes).sum(1)
