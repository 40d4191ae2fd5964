"""Operations that wait for the device, counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["ReadBacks"]

_READING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "equal",
    "is_nonzero",
    "repeat_interleave",
    "index by mask",
}


class ReadBacks(TorchDispatchMode):
    """Counts the operations that bring a value from the device to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.calls += 1
        indices = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        if any(isinstance(part, Tensor) and part.dtype == torch.bool for part in indices):
            name = "index by mask"
        if name in _READING:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))
