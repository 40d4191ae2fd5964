"""The table of a study, in the files of its folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from noisylab.files import atomic_path
from noisylab.reports import read_study, study_report

__all__ = ["TABLES", "Table", "write_table"]

TABLES = ("study.txt", "study.md", "study.csv", "study.json")
"""The files with the table."""

_SHARE = 20  # of the time between two tables, one takes at most a twentieth


class Table:
    """The table of a study that is under way: written after a cell, but seldom enough to take no time.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due = 0.0

    def renew(self) -> None:
        """Write it, unless the one before is fresh enough for what it costs."""
        begun = time.monotonic()
        if begun >= self._due:
            write_table(self._folder)
            ended = time.monotonic()
            self._due = ended + _SHARE * (ended - begun)


def write_table(folder: Path) -> str:
    """Write the results of what is finished; returns the table as text.

    Args:
        folder: of the study.
    """
    report = study_report(read_study(folder))
    content = {
        "study.txt": report.text,
        "study.md": report.markdown,
        "study.csv": report.csv,
        "study.json": json.dumps(report.record, indent=2) + "\n",
    }
    for name, text in content.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return report.text
