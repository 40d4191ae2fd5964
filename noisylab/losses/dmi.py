"""Determinant-based mutual information between predictions and given labels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["dmi_loss", "joint_matrix"]


def joint_matrix(logits: Tensor, target: Tensor) -> Tensor:
    """``U = Y^T P``: the sum over the batch of label times prediction, in float32 (float64 for such logits), without autocast.

    It is a sum, not a mean: batches, or the shares of several ranks, are joined by adding their matrices.

    Args:
        logits: (B, K) float, unnormalized; P is their softmax.
        target: (B,) int64 labels, or (B, K) float labels whose rows sum to one; no gradient.

    Returns:
        (K, K), rows the labels, columns the predictions.

    >>> import torch
    >>> joint_matrix(torch.zeros(3, 2), torch.tensor([0, 1, 1])).tolist()
    [[0.5, 0.5], [1.0, 1.0]]
    """
    with torch.autocast(logits.device.type, enabled=False):
        probs = F.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 1)
        if target.ndim == 1:
            labels = torch.zeros_like(probs).scatter_(1, target[:, None], 1.0)
        else:
            labels = target.detach().to(probs.dtype)
        return labels.t() @ probs


def dmi_loss(joint: Tensor, *, offset: float = 0.001) -> Tensor:
    """``-log(|det U| + offset)``, a scalar in at least float32, without autocast.

    Computed from log |det U|, since the determinant itself leaves the range of float32 with a hundred classes. With labels of
    class-conditional noise T the determinant is det T times that of true labels: the loss is off by a constant.

    A batch without any sample of some class has a row of zeros and the determinant 0: the loss is ``-log offset`` and its
    gradient exactly 0, so such a batch teaches nothing. The same holds for every singular U.

    Source: Xu et al., NeurIPS 2019 (L_DMI); the offset is that of the authors' code.

    Args:
        joint: (K, K) float, U, a sum over the batch (`joint_matrix`); the offset belongs to that scale.
        offset: at least 0. With 0 the loss is ``-log |det U|``: inf, again with gradient 0, of a singular U.

    Raises:
        ValueError: `offset` is negative.

    >>> import torch
    >>> round(dmi_loss(torch.tensor([[2., 1.], [0., 3.]]), offset=0.).item(), 6)
    -1.791759
    """
    if not offset >= 0:
        raise ValueError(f"offset must be at least 0, got {offset}")
    with torch.autocast(joint.device.type, enabled=False):
        joint = joint.to(torch.promote_types(joint.dtype, torch.float32))
        with torch.no_grad():
            # rows and columns of zeros are asked for by name: not every LU on a GPU ends with an exact zero for them
            empty = (joint == 0).all(1).any() | (joint == 0).all(0).any()
            singular = empty | torch.linalg.slogdet(joint).logabsdet.isneginf()
        # the gradient of slogdet is inf or NaN at a singular matrix, also when multiplied by zero: it sees another one
        safe = torch.where(singular, torch.eye(len(joint), dtype=joint.dtype, device=joint.device), joint)
        logarithm = torch.linalg.slogdet(safe).logabsdet
        logarithm = torch.where(singular, torch.full_like(logarithm, -torch.inf), logarithm)
        if offset == 0:
            return -logarithm
        return -torch.logaddexp(logarithm, torch.full_like(logarithm, math.log(offset)))
