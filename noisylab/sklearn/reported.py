"""The list of probably wrong labels as scikit-learn's users read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisylab.data.labels import Array
from noisylab.issues.table import IssueTable

__all__ = ["issues_frame"]


def issues_frame(table: IssueTable, classes: Array, index: Array | None) -> Any:
    """The list as a data frame with labels as they were given; the table itself where pandas is not installed.

    Args:
        table: of M rows.
        classes: (K,) the classes in their order.
        index: (N,) names of the rows of X in a data frame; `None` for their numbers.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return table
    columns = {
        "index": table.index,
        "given": classes[table.given],
        "suggested": classes[table.suggested],
        "score": np.asarray(table.score),
        "is_issue": table.is_issue,
        "confidence": table.confidence,
    }
    return pd.DataFrame(columns, index=table.index if index is None else index[table.index])
