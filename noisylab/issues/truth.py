"""How good a ranked list is, where the true labels are known. For callbacks and reports only."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.issues.table import IssueTable
from noisylab.metrics.label_issues import label_issue_metrics

__all__ = ["issue_metrics"]


def issue_metrics(table: IssueTable, clean: Tensor) -> dict[str, float] | None:
    """The figures of `noisylab.metrics.label_issue_metrics` over the rows of the list whose truth is known.

    Args:
        table: the list.
        clean: (N,) int64 true classes of all rows, -1 where unknown.

    Returns:
        The figures; None where no truth is known.
    """
    truth = clean.cpu()[torch.from_numpy(table.index)]
    known = truth >= 0
    if not bool(known.any()):
        return None
    parts = (table.score, table.is_issue, table.given, table.suggested)
    score, is_issue, given, suggested = (torch.from_numpy(part)[known] for part in parts)
    return label_issue_metrics(given != truth[known], score, is_issue, given, suggested, truth[known])
