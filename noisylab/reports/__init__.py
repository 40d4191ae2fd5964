"""Finished run folders turned into tables and figures. Imports nothing else of noisylab."""

from noisylab.reports.figure import curves_figure
from noisylab.reports.mixture_picture import mixture_figure
from noisylab.reports.results import SeedResults, Spread, aggregate, group_by_seed, result_row, results_table
from noisylab.reports.runs import Curve, RunFolder, RunFolderError, find_runs, read_run, run_labels
from noisylab.reports.studyfolder import StudyCell, StudyFolder, read_study
from noisylab.reports.studyreport import StudyReport, study_report
from noisylab.reports.studystatus import status_text
from noisylab.reports.table import comparison_table
from noisylab.reports.transition_picture import transition_figure
from noisylab.reports.unlabeled_picture import has_unlabeled, unlabeled_figure
from noisylab.reports.verdict import verdict

__all__ = [
    "Curve",
    "RunFolder",
    "RunFolderError",
    "SeedResults",
    "Spread",
    "StudyCell",
    "StudyFolder",
    "StudyReport",
    "aggregate",
    "comparison_table",
    "curves_figure",
    "find_runs",
    "group_by_seed",
    "has_unlabeled",
    "mixture_figure",
    "read_run",
    "read_study",
    "result_row",
    "results_table",
    "run_labels",
    "status_text",
    "study_report",
    "transition_figure",
    "unlabeled_figure",
    "verdict",
]
