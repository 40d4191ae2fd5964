"""How well a method finds the correctly labeled samples. Positive means clean."""

from __future__ import annotations

import math

from torch import Tensor

from noisylab.metrics.memorization import auroc

__all__ = ["selection_metrics"]


def selection_metrics(is_clean: Tensor, *, mask: Tensor | None = None, score: Tensor | None = None) -> dict[str, float]:
    """Precision, recall, F1 and size of a selection, AUROC of a score, over the given samples.

    Args:
        is_clean: (M,) bool, rightly labeled.
        mask: (M,) bool, selected as clean.
        score: (M,) float, larger for cleaner.

    Returns:
        ``precision`` (NaN when nothing is selected), ``recall`` (NaN when nothing is clean), ``f1``, ``size`` as a share of the
        samples, ``gain``, the precision less the share of clean samples; ``auroc`` if there is a score, NaN when one kind is
        missing.

    >>> import torch
    >>> loss, clean = torch.tensor([.1, .4, .35, .8]), torch.tensor([True, True, False, False])
    >>> selection_metrics(clean, mask=loss < .375)["f1"]
    0.5
    """
    found: dict[str, float] = {}
    if mask is not None:
        hits, selected, clean = (float(x.sum()) for x in (mask & is_clean, mask, is_clean))
        precision = hits / selected if selected else math.nan
        recall = hits / clean if clean else math.nan
        total = precision + recall
        found["precision"], found["recall"] = precision, recall
        found["f1"] = 2 * precision * recall / total if total > 0 else (0.0 if total == 0 else math.nan)
        found["size"] = selected / max(len(mask), 1)
        found["gain"] = precision - clean / max(len(mask), 1)
    if score is not None:
        found["auroc"] = auroc(score.float(), is_clean)
    return found
