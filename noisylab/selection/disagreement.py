"""Selection among the samples on which two networks disagree."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.selection.small_loss import keep_count

__all__ = ["small_loss_among"]


def small_loss_among(losses: Tensor, among: Tensor, forget_rate: float) -> Tensor:
    """The samples of a set with the smallest losses, as selected by Co-teaching+ (Yu et al., ICML 2019; authors' code).

    Of the n samples of the set, ``(1 - forget_rate) * n`` rounded down (`keep_count`) are taken; all n if that is none; all
    of the batch if the set is empty. Nothing is read back from the device.

    Args:
        losses: (B,) float; no gradient is needed.
        among: (B,) bool, the set D of samples on which the two networks disagree.
        forget_rate: fraction in [0, 1].

    Returns:
        (B,) bool mask.

    >>> import torch
    >>> losses, among = torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([False, True, True, False])
    >>> small_loss_among(losses, among, 0.5).tolist()
    [False, False, True, False]
    >>> small_loss_among(losses, among, 0.9).tolist()
    [False, True, True, False]
    """
    size = among.sum()
    count = keep_count(forget_rate, size)
    count = torch.where(count > 0, count, size)
    # the set comes first, whatever the losses outside it are
    order = losses.detach().argsort(stable=True)
    order = order[(~among)[order].int().argsort(stable=True)]
    return (order.argsort() < count) | (size == 0)
