"""Selection by what two networks predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

__all__ = ["asymmetric_agreement"]


def asymmetric_agreement(
    robust_pred: Tensor,
    standard_pred: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.025,
    variant: Literal["cifar", "web"] = "cifar",
    mining: bool = True,
    sum_over_ranks: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The samples that ACT selects as clean (Sheng et al., ACM MM 2024; authors' code), without a read-back from the device.

    With a0 and a1 the accuracies of the robust and the standard network on the given labels of the batch, the gate is open if
    ``a0 > 0 and (a1 - a0) / a0 < threshold``. Selected are, with c0 and c1 the predictions and y the given label:
    cifar, gate open ``c1 = y``, closed ``c0 = y and c1 = y``; web, open ``c0 = y or c1 = y``, closed ``c0 = y``.

    Args:
        robust_pred: (B,) int64 c0.
        standard_pred: (B,) int64 c1.
        target: (B,) int64 y.
        threshold: see above.
        variant: see above.
        mining: False keeps the gate closed.
        sum_over_ranks: sums a tensor over ranks, so that the gate sees the whole batch; None for one process.

    Returns:
        (B,) bool mask.
    """
    robust, standard = robust_pred == target, standard_pred == target
    hits = torch.stack([robust.sum(), standard.sum()])
    if sum_over_ranks is not None:
        hits = sum_over_ranks(hits)
    gate = (hits[0] > 0) & ((hits[1] - hits[0]).double() < threshold * hits[0].double())
    wide, narrow = (standard, robust & standard) if variant == "cifar" else (robust | standard, robust)
    return torch.where(gate, wide, narrow) if mining else narrow
