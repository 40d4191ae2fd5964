"""Accuracy of the labels that a method has corrected."""

from __future__ import annotations

import math

from torch import Tensor

from noisylab.metrics.memorization import label_groups

__all__ = ["corrected_metrics"]


def corrected_metrics(corrected: Tensor, given: Tensor, clean: Tensor, num_classes: int) -> dict[str, float]:
    """Metrics of a method's corrected labels, over the samples with a corrected label whose true label is known.

    Open-set samples have no right label: they lower ``right`` and ``flips_right`` and are in neither of the two groups.

    Args:
        corrected: (M,) int64 labels in the place of the given ones, -1 where there is none.
        given: (M,) int64 given labels, -1 in samples to be left out.
        clean: (M,) int64 true classes, -1 where unknown, K and above of open-set samples.
        num_classes: K.

    Returns:
        ``right``: share of the corrected labels that are right; ``right_clean`` and ``right_noisy``: the same among rightly and
        wrongly labeled samples; ``flips``: share of labels that are not the given ones; ``flips_right``: share of those changes
        that give the true class. NaN for a share of nothing.

    >>> import torch
    >>> corrected_metrics(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0]), 2)["flips_right"]
    0.5
    """
    right, wrong, outside = (group & (corrected >= 0) for group in label_groups(given, clean, num_classes))
    hits, flips = corrected == clean, corrected != given
    known = right | wrong | outside
    hits = hits & (right | wrong)
    return {
        "right": _share(hits, known),
        "right_clean": _share(hits, right),
        "right_noisy": _share(hits, wrong),
        "flips": _share(flips, known),
        "flips_right": _share(hits, flips & known),
    }


def _share(values: Tensor, mask: Tensor) -> float:
    count = float(mask.sum())
    return float((values & mask).sum()) / count if count else math.nan
