"""Which labels are wrong: ranking, page, correction."""

from noisylab.issues.ranking import estimate_rate, rank_labels, score_labels
from noisylab.issues.table import IssueTable, read_issues

__all__ = ["IssueTable", "estimate_rate", "rank_labels", "read_issues", "score_labels"]
