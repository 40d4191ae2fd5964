"""FreeMatch's fairness term: predictions for strong views keep the spread over classes that weak views have."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fairness"]

_SMALL = 1e-12  # USB's, within the logarithm


def fairness(strong_probs: Tensor, strong_shares: Tensor, mean_probs: Tensor, histogram: Tensor) -> Tensor:
    """``sum_c a_c log b_c`` with a and b the mean probabilities over how often each class is predicted, made to sum to one.

    ``a_c`` is proportional to ``mean_probs_c / histogram_c`` of all weak views so far, ``b_c`` to the same of the strong views of
    the rows that a step keeps; a class that is never predicted has 0 (Wang et al., FreeMatch, ICLR 2023, equation 11; microsoft/
    Semi-supervised-learning). The gradient goes through `strong_probs` alone.

    Args:
        strong_probs: (K,) float mean probabilities of the strong views of the rows that are kept; zeros if there are none.
        strong_shares: (K,) share of these rows predicted as each class.
        mean_probs: (K,) running mean of the probabilities of weak views.
        histogram: (K,) running mean of the shares of rows predicted as each class.

    >>> strong = torch.tensor([[.8, .1, .1], [.2, .7, .1], [.3, .3, .4]])
    >>> shares, p, h = torch.full((3,), 1 / 3), torch.tensor([.5, .3, .2]), torch.tensor([.6, .2, .2])
    >>> round(fairness(strong.mean(0), shares, p, h).item(), 6)
    -1.143379
    """
    target = _evened(mean_probs, histogram).detach()
    return (target * (_evened(strong_probs, strong_shares) + _SMALL).log()).sum()


def _evened(probs: Tensor, shares: Tensor) -> Tensor:
    scaled = probs * torch.where(shares > 0, 1 / shares, torch.zeros_like(shares)).to(probs.dtype)
    return scaled / scaled.sum().clamp(min=torch.finfo(scaled.dtype).tiny)
