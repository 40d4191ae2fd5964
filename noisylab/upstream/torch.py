"""Private names of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.data import DataLoader

__all__ = [
    "FollowsDevice",
    "TorchDispatchMode",
    "below_dispatch_modes",
    "compile_training_passes",
    "copy_all",
    "forget_step",
    "inductor_cache",
    "multiply_all",
    "shut_down_workers",
    "standard_gamma",
    "tangents_on",
    "tree_leaves",
    "tree_map_only",
    "written_arguments",
]


# ---- modules


class FollowsDevice(nn.Module):
    """A module with tensors that are neither parameters nor buffers, which follow its device but never its dtype.

    Private: ``torch.nn.Module._apply``, through which ``to``, ``cuda``, ``half`` and the like reach a module within another.
    Why: buffers would be cast by ``to(dtype)``, broadcast by DDP and averaged by EMA callbacks.
    Since: noisylab 0.1, torch 2.6.
    Without it: what is remembered per sample stays on the CPU when the method moves to a GPU.
    """

    def follow(self, moved: Callable[[torch.device], torch.device]) -> None:
        """Move the tensors.

        Args:
            moved: where something that lies on a device has to go.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in follow() what follows its device")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.follow(lambda device: fn(torch.zeros(0, device=device)).device)
        return super()._apply(fn, recurse)


def compile_training_passes(network: nn.Module, backend: str | Callable[..., Any]) -> None:
    """Compile what a network does in train mode, in place; in eval mode it runs as it is.

    Private: ``torch.nn.Module._compiled_call_impl`` and ``torch.nn.Module._call_impl``.
    Why: ``Module.compile`` compiles both modes; a network wrapped by ``torch.compile`` has other names in its ``state_dict``, and
    one whose ``forward`` is replaced cannot be copied.
    Since: noisylab 0.1, torch 2.6.
    Without it: ``speed.compile`` compiles evaluation, too, which takes as long again at the first one.
    """
    # Static shapes: which kernels run must not depend on the sizes seen before, or a resumed run would differ.
    network.compile(backend=backend, dynamic=False)
    compiled = network._compiled_call_impl
    assert compiled is not None
    network._compiled_call_impl = lambda *inputs, **named: (
        compiled(*inputs, **named) if network.training else network._call_impl(*inputs, **named)
    )


def inductor_cache() -> Path:
    """The folder in which ``torch.compile`` keeps what it has compiled.

    Private: ``torch._inductor.runtime.cache_dir_utils.cache_dir``.
    Why: there is no public name for the folder where ``TORCHINDUCTOR_CACHE_DIR`` is not set.
    Since: noisylab 0.1, torch 2.6.
    Without it: a run that was killed while it compiled leaves libraries on which later runs fail.
    """
    # here, since it is only there with the compiler, which takes long to import
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(cache_dir())


# ---- tensors and optimizers


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy tensors into others, in place, in a few launches for any number of them.

    Private: ``torch._foreach_copy_``.
    Why: the public ``Tensor.copy_`` takes one launch for each.
    Since: noisylab 0.1, torch 2.6.
    Without it: averages of 16-bit networks take a launch for each parameter.
    """
    torch._foreach_copy_(list(targets), list(sources))


def multiply_all(targets: Sequence[Tensor], factor: float) -> None:
    """Multiply tensors by a number, in place, in a few launches for any number of them.

    Private: ``torch._foreach_mul_``.
    Why: the public ``Tensor.mul_`` takes one launch for each.
    Since: noisylab 0.2, torch 2.6.
    Without it: a weight decay by hand takes a launch for each tensor of a network.
    """
    torch._foreach_mul_(list(targets), factor)


def standard_gamma(shape: Tensor) -> Tensor:
    """One draw of Gamma(shape, 1) for each element.

    Private: ``torch._standard_gamma``, by which ``torch.distributions.Gamma`` draws.
    Why: the distribution gives the same numbers, but takes three times as long, in every step of a method that mixes.
    Since: noisylab 0.1, torch 2.6.
    Without it: mixup draws other shares, or more slowly.
    """
    return torch._standard_gamma(shape)


def forget_step(scaler: Any, optimizer: torch.optim.Optimizer) -> None:
    """Let a gradient scaler step an optimizer again before its next update, with an overflow kept for that update.

    Private: ``torch.amp.GradScaler._per_optimizer_states``, a dict of states by the optimizer's ``id``.
    Why: the scaler allows one step of each optimizer between updates, and is updated once a training step; a method may step one
    optimizer several times in it.
    Since: noisylab 0.1, torch 2.6.
    Without it: methods that step a network twice in a training step fail under ``16-mixed``.
    """
    states = scaler._per_optimizer_states
    states[-len(states)] = states.pop(id(optimizer))  # under a key that is no optimizer's


def shut_down_workers(loader: DataLoader[Any]) -> None:
    """End the persistent workers of a loader now.

    Private: ``DataLoader._iterator`` and its ``_shutdown_workers``.
    Why: there is no public way but to let the loader become garbage, and then the moment is left to chance.
    Since: noisylab 0.1, torch 2.6.
    Without it: worker processes and their memory stay until the program ends.
    """
    iterator: Any = getattr(loader, "_iterator", None)
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


# ---- operations below autograd
#
# ``TorchDispatchMode`` of ``torch.utils._python_dispatch``, ``tree_leaves`` and ``tree_map_only`` of ``torch.utils._pytree``.
# Why: tangents are carried below the level at which the backward pass is recorded, and there is no public name for a mode at that
# level, nor one in torch 2.6 for the functions that look through the arguments of an operation.
# Since: noisylab 0.1, torch 2.6.
# Without them: meta-reweighting has torch's own dual numbers, whose graph is three times the size.


@contextmanager
def below_dispatch_modes() -> Iterator[None]:
    """Within a mode's own handler: other modes stay, and without any torch is told that there is none.

    Private: ``torch.utils._python_dispatch._get_current_dispatch_mode_stack`` and ``torch._C._DisableTorchDispatch``.
    Why: as above.
    Since: noisylab 0.1, torch 2.6.
    Without it: an operation within the handler of the last mode is dispatched to it again.
    """
    if _get_current_dispatch_mode_stack():
        yield
    else:
        with torch._C._DisableTorchDispatch():
            yield


@contextmanager
def tangents_on() -> Iterator[None]:
    """Forward-mode derivatives, also within a function that switches them off.

    Private: ``torch.autograd.forward_ad._set_fwd_grad_enabled``.
    Why: ``torch.no_grad`` switches them off, and has no public counterpart for tangents alone.
    Since: noisylab 0.1, torch 2.6.
    Without it: tangents are lost in what a network computes under ``torch.no_grad()`` or in a custom function.
    """
    with forward_ad._set_fwd_grad_enabled(True), forward_ad.dual_level():
        yield


def written_arguments(operation: Any, arguments: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of the positional arguments that an operation writes to.

    Private: ``torch._ops.OpOverload._schema``.
    Why: there is no public name for what an operation does to its arguments.
    Since: noisylab 0.1, torch 2.6.
    Without it: a derivative that is lost in a tensor written in place is not noticed, and weights are wrong.
    """
    schema = operation._schema
    if schema.is_mutable:
        for place, value in zip(schema.arguments, arguments, strict=False):
            if place.alias_info is not None and place.alias_info.is_write:
                yield place.name, value
