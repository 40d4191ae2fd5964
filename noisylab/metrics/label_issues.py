"""How well a ranked list of labels finds the wrong ones, and how its suggestions change the labels. Positive means wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisylab.metrics.memorization import auroc

__all__ = ["label_issue_metrics"]

_FIRST = 100  # rows that a person looks through in one go
_TOP_PERCENT = 5


def label_issue_metrics(
    is_wrong: Tensor, score: Tensor, is_issue: Tensor, given: Tensor, suggested: Tensor, clean: Tensor
) -> dict[str, float]:
    """Metrics of a list of label issues, over the given samples, whose true labels are known.

    Samples of unknown truth are to be left out. One whose true class is outside the classes (open-set) counts as wrong, and no
    suggestion makes it right. Where a cut falls between equal scores, rows count in the order in which they are handed in, as
    they do in the list.

    Args:
        is_wrong: (M,) bool, whether the given label is wrong.
        score: (M,) float, larger for labels more surely wrong; not NaN.
        is_issue: (M,) bool, flagged as wrong.
        given: (M,) int64 given labels.
        suggested: (M,) int64 labels offered instead.
        clean: (M,) int64 true classes.

    Returns:
        ``auroc``: probability that a wrong label scores above a right one, ties counted half; ``average_precision``: sum over the
        different scores, from the highest, of the gain in recall times the precision; ``f1``, ``precision``, ``recall`` of the
        flag; ``flagged``: share of labels flagged; ``precision_at_k``: share of wrong labels among the K highest scores, K being
        the number of wrong labels; ``precision_at_100``: among the 100 highest, or all if there are fewer; ``label_accuracy``:
        share of given labels that are true; ``label_accuracy_top5``: the same once the flagged labels among the 5 % highest
        scores (rounded up) are replaced; ``label_accuracy_fixed``: once all flagged labels are. NaN for a share of nothing, and
        for ``auroc`` with one kind of label only.

    >>> wrong, score = torch.tensor([True, False, True, False]), torch.tensor([.9, .6, .7, .1])
    >>> given, suggested, clean = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 2, 1])
    >>> found = label_issue_metrics(wrong, score, score > .5, given, suggested, clean)
    >>> found["auroc"], found["recall"], found["label_accuracy"], found["label_accuracy_fixed"]
    (1.0, 1.0, 0.5, 0.5)
    """
    total, wrong, flagged = len(score), int(is_wrong.sum()), int(is_issue.sum())
    hits = int((is_wrong & is_issue).sum())
    order = torch.argsort(score, descending=True, stable=True)
    ranked = is_wrong[order]
    top = torch.zeros_like(is_issue)
    top[order[: -(-total * _TOP_PERCENT // 100)]] = True
    return {
        "auroc": auroc(score, is_wrong),
        "average_precision": _average_precision(score, is_wrong),
        "f1": 2 * hits / (flagged + wrong) if flagged + wrong else math.nan,
        "precision": hits / flagged if flagged else math.nan,
        "recall": hits / wrong if wrong else math.nan,
        "flagged": _share(is_issue),
        "precision_at_k": _share(ranked[:wrong]),
        "precision_at_100": _share(ranked[:_FIRST]),
        "label_accuracy": _share(given == clean),
        "label_accuracy_top5": _share(torch.where(top & is_issue, suggested, given) == clean),
        "label_accuracy_fixed": _share(torch.where(is_issue, suggested, given) == clean),
    }


def _average_precision(score: Tensor, positive: Tensor) -> float:
    total = int(positive.sum())
    if not total:
        return math.nan
    # equal scores are one step of the curve
    levels, place = torch.unique(score, return_inverse=True)
    hits = torch.zeros(len(levels), dtype=torch.float64, device=score.device).index_add_(0, place, positive.double())
    rows = torch.zeros_like(hits).index_add_(0, place, torch.ones_like(positive, dtype=torch.float64))
    hits, rows = hits.flip(0), rows.flip(0)
    return float((hits * hits.cumsum(0) / rows.cumsum(0)).sum()) / total


def _share(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else math.nan
