"""Distribution alignment: predictions rescaled so that their mean over time matches a target."""

from __future__ import annotations

from torch import Tensor

__all__ = ["align"]

_SMALL = 1e-6  # added to both means, as in USB


def align(probs: Tensor, target: Tensor, mean: Tensor) -> Tensor:
    """``p'_k ~ p_k (target_k + 1e-6) / (mean_k + 1e-6)``, rows with sum 1.

    Args:
        probs: (B, K) class probabilities.
        target: (K,) the wanted mean.
        mean: (K,) the current mean.

    Example:
        >>> import torch
        >>> align(torch.tensor([[0.6, 0.4]]), torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25]))
        tensor([[0.3333, 0.6667]])
    """
    scaled = probs * ((target + _SMALL) / (mean + _SMALL))
    return scaled / scaled.sum(1, keepdim=True)
