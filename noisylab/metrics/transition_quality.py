"""How far an estimated transition matrix is from the true one, and whether it is one at all."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor

__all__ = ["TransitionRecord", "transition_error", "transition_metrics", "transition_record"]


class TransitionRecord(TypedDict):
    """An estimate of one epoch, in plain values.

    Attributes:
        epoch: counted from 0.
        estimate: (K, K), rows the true classes.
        truth: (K, K), of source classes that the model has not left out; None where it is not known.
        metrics: of the estimate, by name; see `transition_metrics`.
    """

    epoch: int
    estimate: list[list[float]]
    truth: list[list[float]] | None
    metrics: dict[str, float]


def transition_error(estimate: Tensor, truth: Tensor) -> float:
    """``sum_ij |estimate_ij - truth_ij| / sum_ij |truth_ij|``: twice the mean total variation of the rows.

    In [0, 2] if the rows of both sum to one.

    Args:
        estimate: (K, K), rows the true classes.
        truth: (C, C), rows sum to one, C at least K. Where C is larger, as with samples of source classes that the model does
            not have, the first K rows and columns are compared.

    Raises:
        ValueError: the estimate is not square or the truth smaller.

    >>> round(transition_error(torch.eye(4), torch.full((4, 4), .25)), 6)
    1.5
    """
    truth = _shared(truth, estimate)
    return float((estimate.detach().cpu().double() - truth).abs().sum() / truth.abs().sum())


def transition_metrics(estimate: Tensor, truth: Tensor | None = None) -> dict[str, float]:
    """The error and its parts.

    Args:
        estimate: (K, K), rows the true classes.
        truth: (C, C), rows sum to one, C at least K; of a larger one the first K rows and columns. None where it is not known.

    Returns:
        Of the estimate alone: ``argmax_right``, share of rows whose largest entry is on the diagonal; ``condition``, 2-norm
        condition number; ``min_entry``, lowest entry; ``row_sum``, largest distance of a row's sum from 1. With the truth also
        ``error``, see `transition_error`; ``max_row``, largest row L1 distance; ``diagonal``, mean absolute error of the
        diagonal.

    Raises:
        ValueError: the estimate is not square, has an entry that is NaN or infinite, or the truth is smaller.
    """
    matrix = estimate.detach().cpu().double()
    if not bool(matrix.isfinite().all()):
        raise ValueError(
            "the estimated transition matrix has entries that are NaN or infinite: training has diverged; lower the "
            "optimizer's lr, or set clip_norm"
        )
    found: dict[str, float] = {}
    if truth is not None:
        difference = (matrix - _shared(truth, matrix)).abs()
        found = {
            "error": transition_error(matrix, truth),
            "max_row": float(difference.sum(1).max()),
            "diagonal": float(difference.diagonal().mean()),
        }
    return found | {
        "argmax_right": float((matrix.argmax(1) == torch.arange(len(matrix))).double().mean()),
        "condition": float(torch.linalg.cond(matrix)),
        "min_entry": float(matrix.min()),
        "row_sum": float((matrix.sum(1) - 1).abs().max()),
    }


def transition_record(epoch: int, estimate: Tensor, truth: Tensor | None, metrics: dict[str, float]) -> TransitionRecord:
    """The record kept of an estimate.

    Args:
        epoch: counted from 0.
        estimate: (K, K).
        truth: (C, C), C at least K, or None; of a larger one the first K rows and columns are kept.
        metrics: by name, see `transition_metrics`.

    Raises:
        ValueError: the estimate is not square, or the truth smaller.
    """
    return {
        "epoch": epoch,
        "estimate": estimate.detach().cpu().double().tolist(),
        "truth": None if truth is None else _shared(truth, estimate).tolist(),
        "metrics": dict(metrics),
    }


def _shared(truth: Tensor, estimate: Tensor) -> Tensor:
    """The true matrix of the classes of the estimate, in float64 on the CPU."""
    classes = len(estimate)
    if estimate.shape != (classes, classes) or truth.ndim != 2 or min(truth.shape) < classes or truth.shape[0] != truth.shape[1]:
        raise ValueError(
            f"the estimate {tuple(estimate.shape)} and the truth {tuple(truth.shape)} must be square, the truth no smaller"
        )
    return truth.detach().cpu().double()[:classes, :classes]
