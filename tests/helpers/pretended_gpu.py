"""A GPU that is only pretended: what runs on it may neither be read nor waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from noisylab.transforms.base import constant

__all__ = ["CUDA", "PretendedGPU", "pretended_gpu"]

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)


class PretendedGPU(TorchDispatchMode):
    """Tensors on "cuda" are fake, without values; those of the host are real.

    Reading a value of a fake tensor, asking for a shape that depends on values and mixing devices raise an error as they are
    (`FakeTensorMode`). A copy between the devices raises one unless it goes to the device, from pinned memory, without waiting.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.pinned: set[int] = set()
        self.constants_allowed = False
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fake = any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))
        device = torch.device(kwargs.get("device") or ("cuda" if fake else "cpu"))
        if func is aten._pin_memory.default:
            self.pinned.add(args[0].data_ptr())
            return args[0]
        if not fake and device.type == "cpu":
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if device.type == "cpu":
            raise AssertionError(f"{func} reads from the device")
        if func is aten._to_copy.default and not fake:
            self.copies += 1
            waits = not kwargs.get("non_blocking") or args[0].data_ptr() not in self.pinned
            if waits and not self.constants_allowed:
                raise AssertionError(f"{func} waits for a copy of {args[0]} to the device")
            with unset_fake_temporarily():
                args = (args[0].clone(),)
            args = (self.fake.from_tensor(args[0]),)
        with self.fake:
            return func(*args, **kwargs)


@contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """A `PretendedGPU` for a while."""
    constant.cache_clear()
    fake = FakeTensorMode()
    with fake, PretendedGPU(fake) as mode:
        yield mode
    constant.cache_clear()  # the constants kept here are fake ones
