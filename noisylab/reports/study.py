"""The rows of a study under several seeds in one table: test accuracy, and which unlabeled rows were used how rightly."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisylab.reports.results import Spread
from noisylab.reports.runs import RunFolder
from noisylab.reports.table import plus_minus

__all__ = ["StudyRow", "study_csv", "study_record", "study_row", "study_table"]

_FIGURES = {  # name: column of the table, curve, whether of the last epoch alone
    "last": ("last epoch", "test/acc", True),
    "last_tenth": ("last tenth", "test/acc", False),
    "top5_last": ("top-5, last epoch", "test/top5", True),
    "top5_last_tenth": ("top-5, last tenth", "test/top5", False),
    "used": ("used", "unlabeled/used", False),
    "used_right": ("right among used", "unlabeled/used_right", False),
    "acc": ("right among all", "unlabeled/acc", False),
}


@dataclass(frozen=True)
class StudyRow:
    """One row of a study.

    Args:
        name: of the row.
        method: the method's name, empty while no run is finished.
        seeds: of the finished runs, in rising order.
        missing: seeds whose run is not finished.
        figures: by name, one value a seed, fractions; only figures that all finished runs have.
        wall_time_s: of the finished runs together, seconds.
    """

    name: str
    method: str
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    figures: Mapping[str, tuple[float, ...]]
    wall_time_s: float

    def spread(self, figure: str) -> Spread | None:
        """Mean and population standard deviation of a figure over the seeds; None where it is missing."""
        values = self.figures.get(figure)
        return Spread(statistics.fmean(values), statistics.pstdev(values)) if values else None


def study_row(name: str, runs: Mapping[int, RunFolder | None]) -> StudyRow:
    """What a row came to.

    ``last`` is the test accuracy of the last epoch, ``last_tenth`` the mean of the last tenth of the epochs, at least of one;
    ``top5_last`` and ``top5_last_tenth`` are the same of the five likeliest classes, where the data has more. ``used`` is the
    mean weight of unlabeled rows in the loss, ``used_right`` the share of it that is on right pseudo-labels and ``acc`` the share
    of right ones among all, each over the last tenth. An epoch in which nothing was used says nothing about what was used.

    Args:
        name: of the row.
        runs: by seed; None for one that is not finished.
    """
    finished = {seed: run for seed, run in sorted(runs.items()) if run is not None}
    figures: dict[str, tuple[float, ...]] = {}
    for figure, (_, curve, last) in _FIGURES.items():
        values = [_value(run, curve, last) for run in finished.values()]
        known = tuple(value for value in values if value is not None)
        if finished and len(known) == len(values):
            figures[figure] = known
    return StudyRow(
        name=name,
        method=", ".join(dict.fromkeys(run.method for run in finished.values())),
        seeds=tuple(finished),
        missing=tuple(seed for seed, run in sorted(runs.items()) if run is None),
        figures=figures,
        wall_time_s=math.fsum(run.number("wall_time_s") or 0.0 for run in finished.values()),
    )


def _value(run: RunFolder, name: str, last: bool) -> float | None:
    curve = run.curves.get(name)
    if curve is None:
        return None
    epochs = max(len(found.values) for found in run.curves.values())
    values = curve.values[-1:] if last else curve.values[-max(epochs // 10, 1) :]
    known = [float(value) for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else None


def _shown(rows: Sequence[StudyRow]) -> list[str]:
    return [figure for figure in _FIGURES if any(figure in row.figures for row in rows)]


def study_table(rows: Sequence[StudyRow]) -> str:
    """The rows under each other, in percent: mean and, of several seeds, population standard deviation.

    Args:
        rows: at least one.

    Returns:
        Lines ending in a newline.

    Raises:
        ValueError: `rows` is empty.
    """
    if not rows:
        raise ValueError("rows is empty; give at least one study_row(name, runs)")
    figures = _shown(rows)
    lines = [["row", *(_FIGURES[figure][0] for figure in figures), "seeds"]]
    for row in rows:
        spreads = [row.spread(figure) for figure in figures]
        several = len(row.seeds) > 1
        cells = ["-" if found is None else plus_minus(found.mean, found.std if several else None) for found in spreads]
        seeds = ", ".join(map(str, row.seeds)) + (f" ({', '.join(map(str, row.missing))} missing)" if row.missing else "")
        lines.append([row.name, *cells, seeds.strip()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    notes = ["Test accuracy in percent" + (", ± population standard deviation over the seeds." if _several(rows) else ".")]
    if {"last_tenth", "top5_last_tenth"} & set(figures):
        notes.append("last tenth: mean over the last tenth of the epochs, at least one.")
    if "used" in figures:
        notes.append(
            "used: mean weight of the unlabeled rows in the last tenth, and the share of it that was on right pseudo-labels."
        )
    return "\n".join([*(line.rstrip() for line in text), "", *notes]) + "\n"


def _several(rows: Sequence[StudyRow]) -> bool:
    return any(len(row.seeds) > 1 for row in rows)


def study_record(rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """The rows for a JSON file: mean, population standard deviation and values by seed of every figure, fractions."""
    found: list[dict[str, Any]] = []
    for row in rows:
        figures: dict[str, Any] = {}
        for figure in row.figures:
            spread = row.spread(figure)
            assert spread is not None
            figures[figure] = {"mean": spread.mean, "std": spread.std, "values": list(row.figures[figure])}
        about = {"row": row.name, "method": row.method, "seeds": list(row.seeds), "missing": list(row.missing)}
        found.append({**about, **figures, "wall_time_s": row.wall_time_s})
    return found


def study_csv(rows: Sequence[StudyRow]) -> str:
    """The rows as a CSV file, fractions; columns ``<figure>_mean`` and ``<figure>_std``, empty where there is none."""
    text = io.StringIO(newline="")
    figures = _shown(rows)
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["row", "method", "seeds", *(f"{figure}_{part}" for figure in figures for part in ("mean", "std"))])
    for row in rows:
        spreads = [row.spread(figure) for figure in figures]
        cells = [value for found in spreads for value in (("", "") if found is None else (repr(found.mean), repr(found.std)))]
        out.writerow([row.name, row.method, " ".join(map(str, row.seeds)), *cells])
    return text.getvalue()
