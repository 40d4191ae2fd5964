"""SimCLR's contrastive loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["nt_xent"]


def nt_xent(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.5,
    base_temperature: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    """How far two views of the same samples are from finding each other among all views of all samples.

    With z the 2 B rows of both views, scaled to length one, and p(i) the other view of row i,

    ``l_i = -log(exp(z_i z_p(i) / T) / sum_{j != i} exp(z_i z_j / T))``, times ``T / base_temperature`` if that is given.

    Computed in at least float32. A single sample has no others to be told from: its loss is 0.

    Args:
        first: (B, D) float, one view of each sample.
        second: (B, D), another.
        temperature: T, positive.
        base_temperature: None for SimCLR's loss as it is; 0.07 in SupContrast's code, whose loss, and so its rate, is
            ``T / 0.07`` times as large.
        reduction: "mean" over all 2 B rows, or "none": (2 B,), the first views first.

    Raises:
        ValueError: for a temperature that is not positive.

    Example:
        >>> first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [-0.6, 0.8]])
        >>> round(float(nt_xent(first, second)), 6), round(float(nt_xent(first, second, temperature=0.07)), 6)
        (0.642893, 0.901871)

    Source: Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML
    2020, equation 1; github.com/HobbitLong/SupContrast for the second form.
    """
    if temperature <= 0 or (base_temperature is not None and base_temperature <= 0):
        raise ValueError(f"temperature and base_temperature must be positive, got {temperature} and {base_temperature}")
    both = torch.cat([first, second])
    z = F.normalize(both.to(torch.promote_types(both.dtype, torch.float32)), dim=1)
    with torch.autocast(z.device.type, enabled=False):
        alike = z @ z.T / temperature
    rows = torch.arange(len(z), device=z.device)
    losses = F.cross_entropy(alike.masked_fill(rows[:, None] == rows, -torch.inf), rows.roll(len(first)), reduction="none")
    losses = losses if base_temperature is None else losses * (temperature / base_temperature)
    return losses.mean() if reduction == "mean" else losses
