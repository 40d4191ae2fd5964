"""Early-learning regularization: moving averages of predictions, the regularization term, and label scores from the averages."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.losses.cross_entropy import cross_entropy, soft_cross_entropy

__all__ = ["elr_loss", "elr_regularizer", "elr_target", "given_share", "predicts_given", "reweighted_labels"]

_FLOOR = 1e-4  # authors' code: probabilities lie in [1e-4, 1 - 1e-4]


def elr_target(rows: Tensor, logits: Tensor, momentum: float, *, clamp: bool = True) -> Tensor:
    """The moving averages of predictions after one update, ``t <- momentum * t + (1 - momentum) * p``.

    There is no correction for the start at zero: after the first update a row sums to ``1 - momentum``.

    Args:
        rows: (B, K) float, t; their sums lie in [0, 1].
        logits: (B, K) float, unnormalized; in float32 at least from here on.
        momentum: share of the old value, in [0, 1).
        clamp: p is the softmax clamped to [1e-4, 1 - 1e-4] and divided by its sum (ELR); else the softmax itself (ELR+).

    Returns:
        (B, K) float32 (float64 for such logits), detached; `rows` is left as it is.

    >>> import torch
    >>> once = elr_target(torch.zeros(1, 2), torch.zeros(1, 2), 0.75)
    >>> once.tolist(), elr_target(once, torch.zeros(1, 2), 0.75).tolist()
    ([[0.125, 0.125]], [[0.21875, 0.21875]])
    """
    probs = _probs(logits.detach())
    if clamp:
        probs = probs.clamp(_FLOOR, 1 - _FLOOR)
        probs = probs / probs.sum(1, keepdim=True)
    return momentum * rows.detach().to(probs.dtype) + (1 - momentum) * probs


def elr_regularizer(logits: Tensor, memory_rows: Tensor, *, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``log(1 - <t, p>)``, which decreases as p agrees better with t (Liu et al., NeurIPS 2020).

    p is the softmax clamped to [1e-4, 1 - 1e-4], not normalized again. Its gradient with respect to logit c is
    ``p_c (<t, p> - t_c) / (1 - <t, p>)`` as long as nothing is clamped. Computed in float32, of float64 logits in float64: in 16
    bits ``1 - 1e-4`` is 1, and the logarithm of 0 would be taken.

    Args:
        logits: (B, K) float, unnormalized.
        memory_rows: (B, K) float, t, not negative, with sums of at most 1; no gradient.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> round(elr_regularizer(torch.zeros(1, 4), torch.full((1, 4), 0.25)).item(), 6)
    -0.287682
    """
    probs = _probs(logits).clamp(_FLOOR, 1 - _FLOOR)
    values = (1 - (memory_rows.detach().to(probs.dtype) * probs).sum(1)).log()
    return values.mean() if reduction == "mean" else values


def elr_loss(
    logits: Tensor,
    target: Tensor,
    memory_rows: Tensor,
    regularization: float = 3.0,
    *,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """``CE(z, y) + regularization * log(1 - <t, p>)``; see `elr_regularizer`. The second part is negative, and large.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 given labels, or (B, K) float, soft ones whose rows sum to one.
        memory_rows: (B, K) float, the moving averages t with this batch's predictions in them (`elr_target`).
        regularization: lambda, 0 or more.
        reduction: "mean" over the batch or "none" for (B,).
    """
    to_labels = cross_entropy if target.ndim == 1 else soft_cross_entropy
    losses = to_labels(logits, target, reduction="none")
    losses = losses + regularization * elr_regularizer(logits, memory_rows, reduction="none")
    return losses.mean() if reduction == "mean" else losses


def reweighted_labels(labels: Tensor, memory_rows: Tensor) -> Tensor:
    """Soft labels times the moving averages of predictions, ``y_c q_c / sum_c y_c q_c``.

    Where that is 0/0, as q is zero on all classes of the label, the label stays as it is.

    Args:
        labels: (B, K) float, rows sum to one.
        memory_rows: (B, K) float, q, not negative.

    Returns:
        (B, K) in the wider of the two types, detached; rows sum to one.
    """
    product = labels.detach() * memory_rows.detach()
    total = product.sum(1, keepdim=True)
    # a subnormal sum divides to something else than a distribution
    usable = total >= torch.finfo(total.dtype).tiny
    return torch.where(usable, product / total.where(usable, torch.ones_like(total)), labels.detach().to(product.dtype))


def given_share(table: Tensor, given: Tensor) -> Tensor:
    """The fraction of each moving average on the given label, ``t_i[y_i] / sum_c t_i[c]``.

    Args:
        table: (N, K) float, not negative.
        given: (N,) int64 labels; -1 where there is none.

    Returns:
        (N,) in [0, 1]; 0 for rows of zeros, which were never written, and for rows without a label.

    >>> import torch
    >>> given_share(torch.tensor([[0.25, 0.5], [0.0, 0.0], [0.25, 0.25]]), torch.tensor([1, 0, -1])).tolist()
    [0.6666666865348816, 0.0, 0.0]
    """
    total = table.sum(1)
    own = table.gather(1, given.clamp(min=0)[:, None]).squeeze(1)
    known = (total > 0) & (given >= 0)
    return torch.where(known, own / total.where(known, torch.ones_like(total)), torch.zeros_like(total))


def predicts_given(table: Tensor, given: Tensor) -> Tensor:
    """(N,) bool: whether the largest entry of a moving average is at the given label; False where `given_share` is 0 by rule.

    Args:
        table: (N, K) float, not negative; of equal entries the first counts.
        given: (N,) int64 labels; -1 where there is none.
    """
    return (table.argmax(1) == given) & (table.sum(1) > 0)


def _probs(logits: Tensor) -> Tensor:
    return F.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 1)
