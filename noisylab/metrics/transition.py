"""How far an estimated transition matrix is from the true one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["transition_error", "transition_metrics"]


def transition_error(estimate: Tensor, truth: Tensor) -> float:
    """``sum_ij |estimate_ij - truth_ij| / sum_ij |truth_ij|``: twice the mean total variation of the rows, in [0, 2].

    Args:
        estimate: (K, K), rows the true classes.
        truth: (K, K), rows sum to one.

    >>> round(transition_error(torch.eye(4), torch.full((4, 4), .25)), 6)
    1.5
    """
    estimate, truth = estimate.double(), truth.double().to(estimate.device)
    return float((estimate - truth).abs().sum() / truth.abs().sum())


def transition_metrics(estimate: Tensor, truth: Tensor) -> dict[str, float]:
    """The error and its parts.

    Args:
        estimate: (K, K), rows the true classes.
        truth: (K, K), rows sum to one.

    Returns:
        ``error``, see `transition_error`; ``max_row``, largest row L1 distance; ``diagonal``, mean absolute error of the
        diagonal;
        ``argmax_right``, share of rows whose largest entry is on the diagonal; ``condition``, 2-norm condition number of the
        estimate.
    """
    estimate, truth = estimate.double().cpu(), truth.double().cpu()
    difference = (estimate - truth).abs()
    return {
        "error": transition_error(estimate, truth),
        "max_row": float(difference.sum(1).max()),
        "diagonal": float(difference.diagonal().mean()),
        "argmax_right": float((estimate.argmax(1) == torch.arange(len(estimate))).double().mean()),
        "condition": float(torch.linalg.cond(estimate)),
    }
