"""Cross-entropy against labels mixed with all classes (smoothing of any sign) or with the network's own prediction."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from noisylab.losses.log_probs import Reduction, log_probs_of, of_given, reduced

__all__ = ["bootstrap", "gls"]


def gls(logits: Tensor, target: Tensor, *, rate: float = -0.2, reduction: Reduction = "mean") -> Tensor:
    """Generalized label smoothing ``(1 - r) CE + r mean_c(-log p_c)`` (Wei et al., 2022).

    For r in [0, 1) it is `noisylab.losses.cross_entropy` with ``smoothing=r``. For r < 0 it is unbounded below.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        rate: r, below 1; negative for negative smoothing.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1., .5], [0., 0., 0., 0.], [-1., 3., .5, 1.]])
    >>> round(gls(z, torch.tensor([0, 1, 3]), rate=-0.2).item(), 5)
    1.19677
    """
    log_probs = log_probs_of(logits)
    return reduced(-(1 - rate) * of_given(log_probs, target) - rate * log_probs.mean(1), reduction)


def bootstrap(
    logits: Tensor,
    target: Tensor,
    *,
    kind: Literal["hard", "soft"] = "hard",
    beta: float = 0.8,
    detach: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy against ``beta`` times the label plus ``1 - beta`` times the prediction (Reed et al., 2015).

    hard: ``-b log p_y - (1 - b) log p_m`` with m the likeliest class; soft: ``-b log p_y - (1 - b) sum_c p_c log p_c``.

    Args:
        logits: (B, K) float, unnormalized.
        target: (B,) int64 labels.
        kind: which prediction.
        beta: share of the given label, in [0, 1]; 0.8 for "hard", 0.95 for "soft" in the paper.
        detach: whether the p_c of the soft target has no gradient; the class m has none anyway.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    >>> import torch
    >>> z = torch.tensor([[2., 0., -1., .5], [0., 0., 0., 0.], [-1., 3., .5, 1.]])
    >>> round(bootstrap(z, torch.tensor([0, 1, 3])).item(), 6)
    1.180104
    """
    log_probs = log_probs_of(logits)
    soft = (log_probs.detach() if detach else log_probs).exp()
    own = (soft * log_probs).sum(1) if kind == "soft" else log_probs.max(1).values
    return reduced(-beta * of_given(log_probs, target) - (1 - beta) * own, reduction)
