"""The table of a study, in the files of its folder."""

from __future__ import annotations

import json
from pathlib import Path

from noisylab.cli.configuration.studyplan import Plan
from noisylab.cli.studies.state import finished_run
from noisylab.files import atomic_path
from noisylab.reports import RunFolder, study_csv, study_record, study_row, study_table

__all__ = ["TABLES", "write_table"]

TABLES = ("study.txt", "study.csv", "study.json")
"""The files with the table."""


def write_table(plan: Plan, folder: Path) -> str:
    """Write the results of what is finished; returns the table as text.

    Args:
        plan: of the study.
        folder: of the study.
    """
    rows: dict[str, dict[int, RunFolder | None]] = {}
    for cell in plan.cells:
        name = ", ".join(value for axis, value in cell.axes.items() if axis != "seed" and value)
        rows.setdefault(name, {})[int(cell.axes["seed"])] = finished_run(folder / cell.folder)
    found = [study_row(name, runs) for name, runs in rows.items()]
    seeds = sorted({seed for runs in rows.values() for seed in runs})
    table = study_table(found)
    record = {"recipe": plan.name, "seeds": seeds, "rows": study_record(found)}
    content = {"study.txt": table, "study.csv": study_csv(found), "study.json": json.dumps(record, indent=2) + "\n"}
    for name, text in content.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return table
