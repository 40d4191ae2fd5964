"""Losses with a transition matrix between the predicted and the given label.

``T`` is P(given = column | true = row), rows sum to one; ``p``, the softmax of the logits, is the prediction of the true label
and the row vector ``q = p T`` that of the given one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisylab.losses.cross_entropy import cross_entropy
from noisylab.losses.log_probs import Reduction, log_probs_of

__all__ = ["backward_loss", "forward_loss", "given_log_probs", "importance_weights", "log_volume", "reweighted_loss"]

_LEAST_ENTRY = 1e-8  # of a column of T that is zero, so that the loss of such a label is finite
_LEAST_PROBABILITY = 1e-12  # of a given label, which may come out negative from a matrix that is being revised
_LARGEST_EXPONENT = 80.0  # exp of it is still a float32


def given_log_probs(logits: Tensor, transition: Tensor) -> Tensor:
    """``log(p T)``: log-probabilities of the given labels, in float32 (float64 for such logits).

    Computed from log-probabilities, so that no entry is -inf unless a column of T is zero. It holds B x K x K numbers at once.

    Args:
        logits: (B, K) float, unnormalized.
        transition: (K, K) float, at least 0, rows sum to one. Gradients flow into it, too, also where it is 0; none through a
            column of zeros.

    Returns:
        (B, K); -inf for a column of zeros, and wherever negative entries, as of a matrix under revision, leave p T not positive.

    >>> import torch
    >>> matrix = torch.tensor([[.75, .25], [0., 1.]])
    >>> [round(value, 6) for value in given_log_probs(torch.tensor([[0., 0.]]), matrix)[0].tolist()]
    [-0.980829, -0.470004]
    """
    log_probs = log_probs_of(logits)
    return _log_weighted_sum(log_probs[:, None, :], transition.to(log_probs.dtype).t()[None])


def forward_loss(logits: Tensor, target: Tensor, transition: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """``-log (p T)[y]``, in float32 (float64 for such logits): the minimizer is the prediction of the true label.

    With the identity for T it is the cross-entropy, to the bit. Entries of T are kept as they are, zeros among them, as long as
    the column of the label has an entry of 1e-8; else they are raised to 1e-8: a label that T calls impossible costs 18.4.

    Source: Patrini et al., CVPR 2017.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 given labels, in 0..K-1.
        transition: (K, K) float, at least 0, rows sum to one; gradients flow into it, too.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> matrix = torch.tensor([[.75, .25], [0., 1.]])
    >>> round(forward_loss(torch.tensor([[0., 0.]]), torch.tensor([1]), matrix).item(), 6)
    0.470004
    """
    log_probs = log_probs_of(logits)
    columns = _columns(transition, target, log_probs.dtype)
    impossible = columns.detach().amax(1, keepdim=True) < _LEAST_ENTRY
    losses = -_log_weighted_sum(log_probs, torch.where(impossible, columns.clamp(min=_LEAST_ENTRY), columns))
    return losses.mean() if reduction == "mean" else losses


def backward_loss(
    logits: Tensor,
    target: Tensor,
    inverse: Tensor,
    *,
    cap: float | None = None,
    least_probability: float | None = 1e-7,
    reduction: Reduction = "mean",
) -> Tensor:
    """``sum_j T^-1[y, j] (-log p_j)``, in float32 (float64 for such logits): on average over y the cross-entropy to the truth.

    The inverse has negative entries: without `least_probability` there is no lower bound, and a network that grows sure of itself
    drives the loss to -inf. With it, a sample whose probabilities are all clipped has no gradient.

    Source: Patrini et al., CVPR 2017; authors' code, https://github.com/giorgiop/loss-correction, for the clip.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 given labels, in 0..K-1.
        inverse: (K, K) float, the inverse of T (`noisylab.estimation.invert`).
        cap: largest loss of a sample; beyond it a sample has no gradient. It does not bound the loss from below.
        least_probability: c, in (0, 0.5): each p_j is held in [c, 1 - c] and has no gradient where it would leave; None holds
            none.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> inverse = torch.tensor([[4/3, -1/3], [0., 1.]])
    >>> round(backward_loss(torch.tensor([[2., 0.]]), torch.tensor([0]), inverse).item(), 6)
    -0.539739
    """
    log_probs = log_probs_of(logits)
    if least_probability is not None:
        log_probs = log_probs.clamp(min=math.log(least_probability), max=math.log1p(-least_probability))
    losses = -(inverse.to(log_probs.dtype)[target] * log_probs).sum(1)
    if cap is not None:
        losses = losses.clamp(max=cap)
    return losses.mean() if reduction == "mean" else losses


def importance_weights(logits: Tensor, target: Tensor, transition: Tensor) -> Tensor:
    """``beta = p[y] / (p T)[y]``: how much more likely the label is as the true one than as the given one.

    In float32, of float64 logits in float64. Gradients flow into the logits and into T. The denominator is at least 1e-12, since
    ``T`` may be a matrix with an added slack, whose entries can be negative; where that limit holds it has no gradient, and
    samples with p[y] below 1e-12 get a smaller weight than the formula's.

    Source: Xia et al., NeurIPS 2019; Liu and Tao, IEEE TPAMI 2016.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 given labels, in 0..K-1.
        transition: (K, K) float, or (B, K, K), one a sample; rows need not sum to one.

    Returns:
        (B,).

    >>> import torch
    >>> matrix = torch.tensor([[.75, .25], [0., 1.]])
    >>> [round(beta, 6) for beta in importance_weights(torch.zeros(2, 2), torch.tensor([0, 1]), matrix).tolist()]
    [1.333333, 0.8]
    """
    probs = log_probs_of(logits).exp()
    given = (probs * _columns(transition, target, probs.dtype)).sum(1)
    return probs.gather(1, target[:, None]).squeeze(1) / given.clamp(min=_LEAST_PROBABILITY)


def reweighted_loss(
    logits: Tensor,
    target: Tensor,
    transition: Tensor,
    *,
    detach_weights: bool,
    max_weight: float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """``beta CE(z, y)`` with the weights of `importance_weights`, in float32 (float64 for such logits).

    With the identity for T it is the cross-entropy as long as p[y] is at least 1e-12. Weights are not normalized: the mean is
    over the samples.

    Source: Xia et al., NeurIPS 2019.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 given labels, in 0..K-1.
        transition: (K, K) float; T, or T with a slack; or (B, K, K), one a sample.
        detach_weights: True takes the weights as constants; False lets gradients through them into the logits and into
            `transition`, which gets none otherwise.
        max_weight: largest weight, positive; beyond it a weight is constant. None sets no limit.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    if detach_weights:
        weights = importance_weights(logits.detach(), target, transition.detach())
    else:
        weights = importance_weights(logits, target, transition)
    if max_weight is not None:
        weights = weights.clamp(max=max_weight)
    losses = weights * cross_entropy(logits, target, reduction="none")
    return losses.mean() if reduction == "mean" else losses


def log_volume(transition: Tensor) -> Tensor:
    """``log |det T|``, a scalar in at least float32, whatever autocast says; -inf, without a usable gradient, if T is singular.

    Source: Li et al., ICML 2021 (VolMinNet): of all T that explain the given labels the one of least volume.

    Args:
        transition: (K, K) float.

    >>> import torch
    >>> round(log_volume(torch.tensor([[.75, .25], [.25, .75]])).item(), 6)
    -0.693147
    """
    with torch.autocast(transition.device.type, enabled=False):
        wide = transition.to(torch.promote_types(transition.dtype, torch.float32))
        return torch.linalg.slogdet(wide).logabsdet


def _columns(transition: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, K): row n is the column of T, or of its own T_n, that belongs to the label of sample n."""
    if transition.ndim == 3:
        return transition.to(dtype)[torch.arange(len(target), device=target.device), :, target]
    # indexing, whose gradient is summed in a fixed order; that of gather and index_select is not on CUDA
    return transition.to(dtype).t()[target]


def _log_weighted_sum(log_probs: Tensor, weights: Tensor) -> Tensor:
    """``log sum_k w_k p_k`` along the last dimension; -inf, without a gradient, where no weight is positive.

    In place of logsumexp(log p + log w): a weight of 0 has its gradient, too, p_k over the sum.
    """
    with torch.no_grad():
        largest = (log_probs + weights.clamp(min=0).log()).amax(-1, keepdim=True)
        largest = torch.where(largest.isneginf(), torch.zeros_like(largest), largest)
    # where the exponent is above the limit the weight is zero, or next to it
    total = (weights * (log_probs - largest).clamp(max=_LARGEST_EXPONENT).exp()).sum(-1)
    possible = total > 0
    logarithm = torch.where(possible, total, torch.ones_like(total)).log() + largest.squeeze(-1)
    return torch.where(possible, logarithm, torch.full_like(logarithm, -torch.inf))
