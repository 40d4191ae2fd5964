"""What rows with guessed labels add to a loss: MixMatch's parts, and those of studies of which rows to trust."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from noisylab.losses.cross_entropy import soft_cross_entropy
from noisylab.losses.mixmatch import sharpen, squared_error

__all__ = ["GuessLoss", "Normalizer", "Temperature", "guess_loss", "mixed_loss", "pi_consistency", "sharp_guess", "weighted_mean"]

GuessLoss: TypeAlias = Literal["mse", "ce"]
"""How far a prediction is from a guess: squared distance of the probabilities, a mean over classes, or cross-entropy."""

Normalizer: TypeAlias = Literal["batch", "selected"]
"""What a sum of weighted losses is divided by: the number of rows, or the sum of their weights."""

Temperature: TypeAlias = float | Literal["hard"] | None
"""How a guess is sharpened: by a temperature, to one class, or not at all."""


def sharp_guess(probs: Tensor, temperature: Temperature) -> Tensor:
    """A guess (B, K) made sharper, in at least float32.

    Args:
        probs: (B, K) float, at least 0, rows with a positive sum.
        temperature: T of `noisylab.losses.sharpen`, positive; "hard" for a one at the largest and zeros elsewhere; None for
            the guess as it is.

    >>> import torch
    >>> p = torch.tensor([[.5, .3, .2]])
    >>> sharp_guess(p, "hard").tolist(), sharp_guess(p, None) is p
    ([[1.0, 0.0, 0.0]], True)
    """
    probs = probs.to(torch.promote_types(probs.dtype, torch.float32))
    if temperature is None:
        return probs
    if temperature == "hard":
        return torch.zeros_like(probs).scatter_(1, probs.argmax(1, keepdim=True), 1.0)
    return sharpen(probs, temperature)


def guess_loss(logits: Tensor, guess: Tensor, kind: GuessLoss) -> Tensor:
    """The loss of each row (B,) against a guess, in at least float32.

    Args:
        logits: (B, K) float, unnormalized.
        guess: (B, K) float, taken as it is: rows of a masked cross-entropy may sum to less than one.
        kind: "mse" for ``mean_c (softmax(z)_c - g_c)^2`` (Berthelot et al., NeurIPS 2019, equation 4), "ce" for
            ``-sum_c g_c log softmax(z)_c``.
    """
    return squared_error(logits, guess) if kind == "mse" else soft_cross_entropy(logits, guess, reduction="none")


def weighted_mean(losses: Tensor, weight: Tensor, normalizer: Normalizer = "batch", size: Tensor | float | None = None) -> Tensor:
    """``sum_i w_i l_i / B``, or divided by ``sum_i w_i``; 0 with a gradient of 0 where no row has a weight.

    Args:
        losses: (B,) float; a row of weight 0 adds nothing, even where its loss is infinite or NaN.
        weight: (B,) float, at least 0.
        normalizer: "batch" for B as in FixMatch, "selected" for the sum of the weights.
        size: what to divide by in place of that, where the batch is part of a larger one; 0 is allowed where all weights are 0.

    >>> import torch
    >>> round(weighted_mean(torch.tensor([.0250618, .0061168]), torch.tensor([1., 0.])).item(), 7)
    0.0125309
    """
    total = (weight * torch.where(weight > 0, losses, torch.zeros_like(losses))).sum()
    if size is None:
        size = float(len(losses)) if normalizer == "batch" else weight.sum()
    if isinstance(size, Tensor):
        return total / torch.where(size > 0, size, torch.ones_like(size))
    return total / (size or 1.0)


def mixed_loss(kept: Tensor, whole: Tensor, ramp: float, form: Literal["literal", "convex"] = "literal") -> Tensor:
    """The loss over the rows that are kept, and more and more of that over all rows.

    Args:
        kept: () the loss over the rows that are kept.
        whole: () the loss over all rows.
        ramp: r, from 0 to 1 in the course of training.
        form: "literal" for ``kept + r whole``, which counts a row that is kept twice in the end; "convex" for
            ``(1 - r) kept + r whole``.
    """
    return kept + ramp * whole if form == "literal" else (1 - ramp) * kept + ramp * whole


def pi_consistency(first: Tensor, second: Tensor) -> Tensor:
    """How far the predictions for two views of a row are apart, (B,), in at least float32; the gradient goes through both.

    ``mean_c (softmax(z)_c - softmax(z')_c)^2``, as in the Pi-model (Laine and Aila, ICLR 2017).

    Args:
        first: (B, K) logits of one view.
        second: (B, K) logits of the other.
    """
    return squared_error(first, F.softmax(second.to(torch.promote_types(second.dtype, torch.float32)), 1))
