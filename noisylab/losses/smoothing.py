"""Label smoothing of labels that are distributions over the classes."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

__all__ = ["smoothed"]


def smoothed(probs: Tensor, smoothing: float, convention: Literal["torch", "others"] = "torch") -> Tensor:
    """Take the part s of each class away and spread it, as `cross_entropy` does for a single class.

    "torch": over all classes, ``(1 - s) t + s/K``; "others": over those but its own, ``(1 - s) t + s (1 - t)/(K - 1)``.

    Args:
        probs: (B, K) float, t, rows sum to one.
        smoothing: s, fraction in [0, 1).
        convention: see above.

    >>> import torch
    >>> smoothed(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), 0.2).tolist()
    [[0.45..., 0.45..., 0.05..., 0.05...]]
    """
    if not smoothing:
        return probs
    classes = probs.shape[1]
    spread = (1 - probs) / (classes - 1) if convention == "others" else 1 / classes
    return (1 - smoothing) * probs + smoothing * spread
