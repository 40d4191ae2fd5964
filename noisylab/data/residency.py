"""Where data in memory lies: on the training device, or on the host."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from noisylab.data.rows import TensorStore
from noisylab.transforms.base import to_device
from noisylab.types import Inputs

__all__ = ["Residency", "resides"]

_SHARE = 0.5  # of the free memory; the rest is for networks, optimizers, activations and views


class Residency:
    """Gathers rows onto a device, from there if the data has room, else from the host.

    Args:
        mode: "auto", "device" or "host", see `resides`.

    Raises:
        ValueError: for another mode.
    """

    def __init__(self, mode: Literal["auto", "device", "host"] = "auto") -> None:
        if mode not in ("auto", "device", "host"):
            raise ValueError(f"residency must be auto, device or host, got {mode!r}")
        self.mode = mode
        self._decided: dict[tuple[TensorStore, torch.device], bool] = {}

    def gather(self, store: TensorStore, index: Tensor, device: torch.device) -> Inputs:
        """Rows `index` (B,), given on the host, on `device`."""
        if (store, device) not in self._decided:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
            self._decided[store, device] = resides(self.mode, store.nbytes, free)
        store.settle(device if self._decided[store, device] else torch.device("cpu"))
        rows = store.gather(index)
        return (
            {name: to_device(part, device) for name, part in rows.items()} if isinstance(rows, dict) else to_device(rows, device)
        )


def resides(mode: str, size: int, free: int | None) -> bool:
    """Whether data is to lie on the device. Warns where it is free to and has no room.

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
