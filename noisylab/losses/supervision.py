"""Pseudo labels of IEG and of its combination with DivideMix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.losses.mixmatch import sharpen

__all__ = ["co_guess", "consistency", "logit_norm", "pseudo_labels"]

_FLOOR = 1e-8


def logit_norm(logits: Tensor, square: Tensor | None = None) -> Tensor:
    """Logits divided by ``sqrt(mean of their squares + 1e-8)``, one number for the whole block (authors' code of IEG).

    Args:
        logits: (B, K).
        square: the mean of squares, where it is that of a larger block; None for that of these logits.

    Returns:
        (B, K) in at least float32, of mean square 1.

    >>> import torch
    >>> [round(z, 4) for z in logit_norm(torch.tensor([[2., 0., -1.], [.5, 1., 0.]]))[0].tolist()]
    [1.9596, 0.0, -0.9798]
    """
    logits = _wide(logits)
    return logits * (_FLOOR + (logits.square().mean() if square is None else square)).rsqrt()


def pseudo_labels(normalized: Sequence[Tensor], temperature: float) -> Tensor:
    """``s_T(mean over the views of softmax(ln z))``, without gradient (Zhang et al., CVPR 2020, section 3.3).

    Args:
        normalized: (B, K) normalized logits (`logit_norm`) of each view.
        temperature: T, positive.
    """
    return sharpen(_mean_probs(normalized), temperature)


def co_guess(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    weights: tuple[Tensor, Tensor],
    temperature: float,
    *,
    inner_scale: bool = True,
) -> Tensor:
    """Pseudo labels of two networks, each trusted on a sample in proportion to the weight it gives that sample.

    ``g = s_T(sum_r rho_r softmax(rho_r ln z_r))`` with ``rho_r = w_r / (w_1 + w_2)``, 1/2 where both are 0.

    Args:
        first: (B, K) normalized logits of the first network for each view, whose probabilities are averaged.
        second: the same of the second.
        weights: (B,) weights of each network, at least 0; they are not changed.
        temperature: T, positive.
        inner_scale: whether rho also multiplies the logits, as an inverse temperature.

    Returns:
        (B, K) in at least float32, without gradient.

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1.], [.5, 1., 0.]]), torch.tensor([[1., .5, -.5], [0., 2., 0.]])
    >>> w = torch.tensor([.3, 0.]), torch.tensor([.1, 0.])
    >>> g = co_guess([logit_norm(z[0])], [logit_norm(z[1])], w, 0.5)
    >>> [[round(p, 4) for p in row] for row in g.tolist()]
    [[0.8738, 0.0931, 0.0331], [0.1887, 0.6694, 0.1418]]
    """
    none = (weights[0] == 0) & (weights[1] == 0)
    floored = [torch.where(none, _FLOOR, weight) for weight in weights]
    total = floored[0] + floored[1]
    guess = torch.zeros_like(first[0])
    for views, weight in zip((first, second), floored, strict=True):
        rho = (weight / total)[:, None].to(guess.dtype)
        guess = guess + rho * _mean_probs([rho * view for view in views] if inner_scale else views)
    return sharpen(guess, temperature)


def consistency(logits: Tensor, other: Tensor) -> Tensor:
    """``KL(softmax(z) || softmax(z'))`` of each sample (B,), in at least float32; the first is a target without gradient.

    Args:
        logits: (B, K) z.
        other: (B, K) z' of another view of the same samples.
    """
    target = F.log_softmax(_wide(logits.detach()), 1)
    return (target.exp() * (target - F.log_softmax(_wide(other), 1))).sum(1)


def _mean_probs(views: Sequence[Tensor]) -> Tensor:
    return torch.stack([F.softmax(_wide(view.detach()), 1) for view in views]).mean(0)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
