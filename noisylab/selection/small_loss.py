"""Selection of the samples with the smallest losses in a batch."""

from __future__ import annotations

from typing import overload

from torch import Tensor

__all__ = ["keep_count", "small_loss"]


@overload
def keep_count(forget_rate: float, size: int) -> int: ...
@overload
def keep_count(forget_rate: float, size: Tensor) -> Tensor: ...
def keep_count(forget_rate: float, size: int | Tensor) -> int | Tensor:
    """How many of `size` samples are kept: ``(1 - forget_rate) * size`` rounded down, 0 included.

    1e-9 is added first. Without it a product that is whole on paper may fall short of it in floating point: 0.9 of ten samples
    forgotten would leave none.

    Args:
        forget_rate: fraction in [0, 1].
        size: samples, or () int64 of them; then nothing is read back from the device.

    Returns:
        As `size`: a number, or () int64.

    >>> keep_count(0.9, 10), keep_count(0.5, 7), keep_count(0.2, 1)
    (1, 3, 0)
    """
    if isinstance(size, Tensor):
        return ((1 - forget_rate) * size.double() + 1e-9).long()
    return int((1 - forget_rate) * size + 1e-9)


def small_loss(losses: Tensor, count: int | Tensor) -> Tensor:
    """The `count` samples with the smallest losses, without a read-back from the device.

    Args:
        losses: (B,) float; of equal ones the first count as smaller, NaN counts as larger than any number. No gradient is
            needed.
        count: how many, or () int64; more than B takes all, 0 none.

    Returns:
        (B,) bool mask.

    >>> import torch
    >>> small_loss(torch.tensor([0.3, 0.1, 0.3, 2.0]), 2).tolist()
    [True, True, False, False]
    """
    rank = losses.detach().argsort(stable=True).argsort()
    return rank < count
