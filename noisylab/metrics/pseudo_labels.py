"""How good the labels are that a method gives to rows without one."""

from __future__ import annotations

from torch import Tensor

__all__ = ["pseudo_label_sums"]


def pseudo_label_sums(pred: Tensor, weight: Tensor, clean: Tensor, seen: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The share of right pseudo-labels, among those that were used and among all, as a mean and what it is the mean over.

    Nothing is read back from the device: means over several steps are those of the means, with these weights. Rows of unknown
    truth do not count.

    Args:
        pred: (B,) int64 pseudo-labels.
        weight: (B,) float in [0, 1], how much each counts in the loss; 0 for those that are not used.
        clean: (B,) int64 true labels, -1 where unknown.
        seen: (B,) bool, rows that have a pseudo-label; others do not count.

    Returns:
        ``used_right``: (share of the used weight that is on right pseudo-labels, that weight); ``acc``: (share of right
        pseudo-labels, their number); both () float64, or float32 on a device without, and 0 where nothing counts.

    >>> import torch
    >>> sums = pseudo_label_sums(torch.tensor([0, 1, 2, 2]), torch.tensor([1.0, 0.5, 0.0, 1.0]),
    ...                          torch.tensor([0, 2, 2, -1]), torch.tensor([True] * 4))
    >>> [(round(float(mean), 4), float(over)) for mean, over in sums.values()]
    [(0.6667, 1.5), (0.6667, 3.0)]
    """
    known = seen & (clean >= 0)
    wide = weight.float() if weight.device.type == "mps" else weight.double()
    right = (known & (pred == clean)).to(wide.dtype)
    used, all_known = (wide * known).sum(), known.to(wide.dtype).sum()
    return {
        "used_right": ((wide * right).sum() / used.clamp(min=1e-12), used),
        "acc": (right.sum() / all_known.clamp(min=1), all_known),
    }
