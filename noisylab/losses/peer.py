"""Peer loss: cross-entropy minus the cross-entropy of mismatched inputs and labels."""

from __future__ import annotations

from torch import Tensor

from noisylab.losses.log_probs import Reduction, log_probs_of, of_given, reduced

__all__ = ["peer_loss", "peer_weight", "shifted_cross_entropy"]


def shifted_cross_entropy(logits: Tensor, target: Tensor, *, shift: float = 1e-5, reduction: Reduction = "mean") -> Tensor:
    """``-log(p_y + shift)``, which is at most ``-log shift`` and has a small gradient there.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        shift: positive.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).
    """
    return reduced(-(of_given(log_probs_of(logits), target).exp() + shift).log(), reduction)


def peer_loss(
    logits: Tensor,
    target: Tensor,
    peer_logits: Tensor,
    peer_target: Tensor,
    *,
    weight: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """``CE'(z, y) - a CE'(z_r, y_s)`` with ``CE' = -log(p + 1e-5)`` (Liu and Guo, 2020).

    It may be negative, down to ``-a log 1e5``.

    Args:
        logits: (B, K) float, unnormalized, z.
        target: (B,) int64 labels, y.
        peer_logits: (M, K) float, z_r, of samples drawn at random.
        peer_target: (M,) int64 labels, y_s, of other samples, drawn independently of those.
        weight: a, 0 or more.
        reduction: "mean" of each part, or "none" for (B,), which needs M = B.

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1., .5], [0., 0., 0., 0.], [-1., 3., .5, 1.]])
    >>> y = torch.tensor([0, 1, 3])
    >>> round(peer_loss(z, y, z[[1, 2, 0]], y[[2, 0, 1]]).item(), 5)
    -1.33311
    """
    own = shifted_cross_entropy(logits, target, reduction=reduction)
    return own - weight * shifted_cross_entropy(peer_logits, peer_target, reduction=reduction)


def peer_weight(epoch: int) -> float:
    """a of epoch `epoch`, counted from 0, in the benchmark of KlemenVovk/noisy-labels.

    0 for 20 epochs, then evenly spaced values, both ends included: 20 from 0 to 1, 50 from 1 to 2, 50 from 2 to 5, 100 from 5 to
    10, 100 from 10 to 20, and 20 from there on.

    >>> [round(peer_weight(epoch), 5) for epoch in (19, 20, 39, 40, 49, 89, 340)]
    [0.0, 0.0, 1.0, 1.0, 1.18367, 2.0, 20.0]
    """
    begin = 20
    for low, high, length in ((0.0, 1.0, 20), (1.0, 2.0, 50), (2.0, 5.0, 50), (5.0, 10.0, 100), (10.0, 20.0, 100)):
        if epoch < begin + length:
            return low + (high - low) * max(epoch - begin, 0) / (length - 1)
        begin += length
    return 20.0
