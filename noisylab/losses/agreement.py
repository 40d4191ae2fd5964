"""How far apart the predictions of two networks are."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["symmetric_kl"]


def symmetric_kl(first: Tensor, second: Tensor, *, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``KL(p || q) + KL(q || p) = sum_c (p_c - q_c) (log p_c - log q_c)``, p and q the softmax of two networks' logits.

    Computed in float32, of float64 logits in float64; gradients flow into both. Source: Wei et al., CVPR 2020 (JoCoR).

    Args:
        first: (B, K) float, unnormalized.
        second: (B, K) float, unnormalized.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> z = torch.tensor([[2., 0., 0.], [1., 1., 0.]])
    >>> [round(value, 6) for value in symmetric_kl(z, z.flip(0), reduction="none").tolist()]
    [0.680479, 0.680479]
    """
    log_p, log_q = (F.log_softmax(z.to(torch.promote_types(z.dtype, torch.float32)), 1) for z in (first, second))
    values = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)
    return values.mean() if reduction == "mean" else values
