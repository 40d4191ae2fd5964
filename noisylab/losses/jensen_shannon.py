"""How far apart a network's predictions of several views of the same samples are."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["jensen_shannon"]

_SMALLEST = 1e-7  # of the mean of the predictions, as in AugMix's code


def jensen_shannon(*logits: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
    """``(1/k) sum_i KL(p_i || M)``, M the mean of the k predictions, clamped to 1e-7: between 0 and log k.

    Computed in float32, of float64 logits in float64; gradients flow into all of them, through M, too. AugMix adds 12 times this
    to the cross-entropy of the clean view, k = 3: the clean view and two mixtures. Source: Hendrycks et al., "AugMix", ICLR 2020,
    equation 2, and `cifar.py` of https://github.com/google-research/augmix.

    Args:
        logits: two or more tensors (B, K) float, unnormalized, of the same samples.
        reduction: "mean" over the batch (NaN when it is empty) or "none" for (B,).

    Raises:
        ValueError: for fewer than two predictions.

    >>> import torch
    >>> z = torch.eye(3)[[0, 1]]
    >>> round(float(jensen_shannon(z[:1], z[1:], torch.zeros(1, 3))), 6)
    0.066733
    """
    if len(logits) < 2:
        raise ValueError(f"jensen_shannon compares two or more predictions of the same samples, got {len(logits)}")
    logs = [F.log_softmax(z.to(torch.promote_types(z.dtype, torch.float32)), 1) for z in logits]
    probs = [each.exp() for each in logs]
    mean = torch.stack(probs).mean(0).clamp(_SMALLEST, 1).log()
    values = torch.stack([(p * (log - mean)).sum(1) for p, log in zip(probs, logs, strict=True)]).mean(0)
    return values.mean() if reduction == "mean" else values
