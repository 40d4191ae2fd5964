"""Copies batches to the device while earlier ones are in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self, TypeVar

import torch

__all__ = ["ahead"]


class _Movable(Protocol):
    def to(self, device: torch.device, **kwargs: Any) -> Self: ...


T = TypeVar("T", bound=_Movable)


def ahead(batches: Iterator[T], device: torch.device) -> Iterator[T]:
    """The batches on `device`; on CUDA the next one is copied, on a stream of its own, while one is used.

    Args:
        batches: on the host, in page-locked memory where the copy is to overlap with work.
        device: where they are used.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    side, main = torch.cuda.Stream(device), torch.cuda.current_stream(device)

    def start_copy() -> T | None:
        batch = next(batches, None)
        if batch is None:
            return None
        # memory of the batch before the last may be written again: what reads it was enqueued before this point
        side.wait_stream(main)
        with torch.cuda.stream(side):
            return batch.to(device, non_blocking=True)

    copied = start_copy()
    while copied is not None:
        main.wait_stream(side)
        batch, copied = copied, None
        copied = start_copy()
        yield batch
        del batch
