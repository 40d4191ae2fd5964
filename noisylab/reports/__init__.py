"""Finished run folders turned into tables, figures and pages. Imports nothing else of noisylab."""

from noisylab.reports.docs_pages import MethodEntry, RecipeText, method_pages, outdated_pages, write_pages
from noisylab.reports.figure import curves_figure
from noisylab.reports.mixture_picture import mixture_figure
from noisylab.reports.results import SeedResults, Spread, aggregate, group_by_seed, result_row, results_table
from noisylab.reports.runs import Curve, RunFolder, RunFolderError, find_runs, read_run, run_labels
from noisylab.reports.table import comparison_table
from noisylab.reports.transition_picture import transition_figure

__all__ = [
    "Curve",
    "MethodEntry",
    "RecipeText",
    "RunFolder",
    "RunFolderError",
    "SeedResults",
    "Spread",
    "aggregate",
    "comparison_table",
    "curves_figure",
    "find_runs",
    "group_by_seed",
    "method_pages",
    "mixture_figure",
    "outdated_pages",
    "read_run",
    "result_row",
    "results_table",
    "run_labels",
    "transition_figure",
    "write_pages",
]
