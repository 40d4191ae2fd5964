"""How much two embeddings of the same samples have in common."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["soft_hgr"]


def soft_hgr(first: Tensor, second: Tensor) -> Tensor:
    """Soft-HGR of a batch: ``E[f . g] - tr(cov(f) cov(g)) / 2``, f and g centered over the batch. The larger, the more the views
    agree: as a loss, give it a negative weight.

    The expectation and both covariances divide by B - 1. It is at most half the number of directions that the views share: where
    the covariances are the identity, it is the sum of the correlations less D / 2. Gradients flow into both. Computed in float32,
    for float64 embeddings in float64; 0 for fewer than two samples, which have no covariance.

    Source: Wang, Wu, Huang, Zheng, Xu, Zhang, Huang, An Efficient Approach to Informative Feature Extraction from Multimodal
    Data, AAAI 2019, https://arxiv.org/abs/1811.08979.

    Args:
        first: f, (B, D) float.
        second: g, (B, D) float.

    Raises:
        ValueError: the two differ in shape.

    >>> import torch
    >>> f, g = torch.tensor([[1., 0], [0, 1], [1, 1], [0, 0]]), torch.tensor([[1., 0], [0, 2], [1, 1], [0, 1]])
    >>> round(float(soft_hgr(f, g)), 6)
    0.5
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"both embeddings must have one shape (B, D), got {tuple(first.shape)} and {tuple(second.shape)}; give the encoders "
            "outputs of one width"
        )
    with torch.autocast(first.device.type, enabled=False):
        f, g = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (first, second))
        f, g = f - f.mean(0), g - g.mean(0)
        rows = max(len(f) - 1, 1)  # of one sample everything is 0
        if not len(f):
            return (f * g).sum()
        return ((f * g).sum() - (f.T @ f * (g.T @ g)).sum() / (2 * rows)) / rows
