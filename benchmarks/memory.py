"""Memory of a piece of work: what autograd holds for its backward pass, and what is allocated at the worst moment."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

__all__ = ["SavedBytes", "peak_bytes"]


class _Held:
    """A tensor that autograd has saved, until it lets go of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class SavedBytes:
    """What autograd holds for backward passes, within `recording`.

    Attributes:
        peak: most bytes held at once, each storage once.
        summed: all saved tensors added up at that moment.
    """

    def __init__(self) -> None:
        self.peak = self.summed = self._bytes = self._sum = 0
        self._uses: dict[int, int] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Look at what is saved in here."""
        with saved_tensors_hooks(self._pack, lambda held: held.tensor):
            yield

    def _pack(self, tensor: Tensor) -> _Held:
        held = _Held(tensor)
        if tensor._is_zerotensor():  # has no storage
            return held
        storage = tensor.untyped_storage()
        key, size, own = storage._cdata, storage.nbytes(), tensor.numel() * tensor.element_size()
        if not self._uses.get(key):
            self._bytes += size
        self._uses[key] = self._uses.get(key, 0) + 1
        self._sum += own
        if self._bytes > self.peak:
            self.peak, self.summed = self._bytes, self._sum
        elif self._bytes == self.peak:  # one more tensor in a storage that is there
            self.summed = max(self.summed, self._sum)
        weakref.finalize(held, self._release, key, size, own)
        return held

    def _release(self, key: int, size: int, own: int) -> None:
        self._uses[key] -= 1
        self._sum -= own
        if not self._uses[key]:
            self._bytes -= size


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """Most bytes allocated during a call beyond those before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would report its own start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events: Any = profiler.profiler
    changes = [(event.start_ns(), event.nbytes()) for event in events.kineto_results.events() if event.name() == "[memory]"]
    allocated = most = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        allocated += change
        most = max(most, allocated)
    return most
