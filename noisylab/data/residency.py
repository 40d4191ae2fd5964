"""Where data in memory is kept: on the training device, or on the host."""

from __future__ import annotations

from typing import Literal
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from noisylab.data.rows import TensorStore
from noisylab.transforms.base import to_device
from noisylab.types import Inputs, map_inputs

__all__ = ["Residency", "resides"]

_SHARE = 0.5  # of the free memory; the rest is for networks, optimizers, activations and views


class Residency:
    """Gathers rows onto a device, from its own memory if the data fits, else from the host.

    Args:
        mode: "auto", "device" or "host", see `resides`.

    Raises:
        ValueError: for another mode.
    """

    def __init__(self, mode: Literal["auto", "device", "host"] = "auto") -> None:
        if mode not in ("auto", "device", "host"):
            raise ValueError(f"residency must be auto, device or host, got {mode!r}")
        self.mode = mode
        self._decided: WeakKeyDictionary[TensorStore, dict[torch.device, bool]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Residency], tuple[str]]:
        return Residency, (self.mode,)  # another process decides for itself

    def gather(self, store: TensorStore, index: Tensor, device: torch.device) -> Inputs:
        """Rows `index` (B,), given on the host, on `device`."""
        decided = self._decided.setdefault(store, {})
        if device not in decided:
            decided[device] = resides(self.mode, store.nbytes, _free(device) if device.type == "cuda" else None)
        store.settle(device if decided[device] else torch.device("cpu"))
        return map_inputs(lambda rows: to_device(rows, device), store.gather(index))


def _free(device: torch.device) -> int:
    """Bytes that can be had on a CUDA device, those that torch keeps for later included."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def resides(mode: str, size: int, free: int | None) -> bool:
    """Whether to keep data on the device; warns if it could be there but does not fit.

    Args:
        mode: "device" and "host" are obeyed; "auto" takes at most half of what is free.
        size: bytes of the data.
        free: free bytes of the device; None where its memory is the host's own.

    Raises:
        ValueError: for "device" without room.
    """
    if mode == "host" or free is None:
        return mode != "host"
    needed = f"the data takes {size / 2**30:.2f} GiB and the device has {free / 2**30:.2f} GiB free"
    if mode == "device":
        if size > free:
            raise ValueError(f"residency='device': {needed}; use residency='auto' or 'host'")
        return True
    if size <= _SHARE * free:
        return True
    rank_zero_warn(f"{needed}: it stays in the host's memory and is copied to the device in chunks, as with residency='host'")
    return False
