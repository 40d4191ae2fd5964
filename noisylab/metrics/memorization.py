"""Memorization of wrong labels: what a network predicts on correctly and wrongly labeled training samples.

Arpit et al., A Closer Look at Memorization in Deep Networks, ICML 2017. Everything here needs the true labels and belongs in
callbacks and reports, never in training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

__all__ = ["auroc", "label_groups", "loss_histogram", "memorization"]

_CONFIDENT = 0.95


def auroc(score: Tensor, positive: Tensor) -> float:
    """Probability that a positive sample scores above a negative one, ties counted half; NaN when one kind is missing.

    Args:
        score: (M,) float, not NaN.
        positive: (M,) bool.

    >>> auroc(-torch.tensor([.1, .4, .35, .8]), torch.tensor([True, True, False, False]))
    0.75
    """
    if not bool(positive.any()) or bool(positive.all()):
        return math.nan
    # ranks, not values: torchmetrics squashes scores outside [0, 1] through a sigmoid, which merges large ones
    ranks = torch.unique(score, return_inverse=True)[1].double() / max(len(score), 1)
    return float(binary_auroc(ranks, positive.long(), validate_args=False))


def label_groups(given: Tensor, clean: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (N,) of rightly labeled, wrongly labeled and open-set samples.

    Open-set samples have a true class outside 0..K-1: no answer would be right. Samples of unknown truth (-1) are in no group.
    """
    known = (clean >= 0) & (given >= 0)
    closed = known & (clean < num_classes)
    return closed & (given == clean), closed & (given != clean), known & (clean >= num_classes)


def memorization(
    *, pred: Tensor, loss: Tensor, given: Tensor, clean: Tensor, num_classes: int, top_prob: Tensor | None = None
) -> dict[str, float]:
    """Memorization metrics at one moment of training, over the given samples. A group without samples gives NaN.

    Args:
        pred: (M,) int64 predictions.
        loss: (M,) float cross-entropy to the given labels.
        given: (M,) int64 given labels.
        clean: (M,) int64 true labels, -1 where unknown.
        num_classes: K.
        top_prob: (M,) largest probability, for the shares of confident predictions.

    Returns:
        ``clean_acc``: rightly labeled samples predicted so; ``noisy_as_given``: wrongly labeled samples predicted as labeled,
        that is memorized; ``noisy_as_true``: predicted as they truly are; ``noisy_other``: neither; ``clean_loss``,
        ``noisy_loss`` and their medians; ``loss_auroc``: how well a small loss tells clean from wrong; ``open_as_given`` where
        there are open-set samples; ``clean_confident``, ``noisy_confident``: shares with a probability above 0.95.
    """
    right, wrong, outside = label_groups(given, clean, num_classes)
    # the loss of a wrong label has no bound; clip as at p = 1e-8
    loss = loss.float().clamp(max=-math.log(1e-8))
    as_given, as_true = pred == given, pred == clean
    found = {
        "clean_acc": _share(as_given, right),
        "noisy_as_given": _share(as_given, wrong),
        "noisy_as_true": _share(as_true, wrong),
        "noisy_other": _share(~as_given & ~as_true, wrong),
        "clean_loss": _share(loss, right),
        "noisy_loss": _share(loss, wrong),
        "clean_loss_median": _median(loss[right]),
        "noisy_loss_median": _median(loss[wrong]),
        "loss_auroc": auroc(-loss[right | wrong], right[right | wrong]),
    }
    if bool(outside.any()):
        found["open_as_given"] = _share(as_given, outside)
    if top_prob is not None:
        found["clean_confident"] = _share(top_prob > _CONFIDENT, right)
        found["noisy_confident"] = _share(top_prob > _CONFIDENT, wrong)
    return found


def loss_histogram(loss: Tensor, right: Tensor, wrong: Tensor, bins: int = 64) -> dict[str, list[float]]:
    """Counts of losses of right and wrong labels in equal bins on [0, quantile 0.995]; larger losses are in the last bin.

    Args:
        loss: (M,) float, at least 0.
        right: (M,) bool.
        wrong: (M,) bool.
        bins: number of bins.

    Returns:
        ``edges`` (bins + 1) and counts ``right`` and ``wrong`` (bins).
    """
    kept = loss[right | wrong].float().cpu()
    top = float(kept.sort().values[int(0.995 * (len(kept) - 1))]) if len(kept) else 1.0
    top = top or 1.0
    counts = {
        name: torch.histc(loss[mask].float().cpu().clamp(0, top), bins, 0, top).tolist()
        for name, mask in (("right", right), ("wrong", wrong))
    }
    return {"edges": torch.linspace(0, top, bins + 1, dtype=torch.float32).tolist(), **counts}


def _share(values: Tensor, mask: Tensor) -> float:
    return float(values[mask].double().mean()) if bool(mask.any()) else math.nan


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else math.nan
