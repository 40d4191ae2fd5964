"""How far a study has come."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Sequence

from noisylab.reports.studyfigures import row_name
from noisylab.reports.studyfolder import StudyCell, StudyFolder

__all__ = ["status_text"]

_STATES = ("finished", "running", "stopped", "failed", "damaged", "waiting")
_LEFT = ("running", "stopped", "waiting")  # failed and damaged ones may need something first
_MOST = 10  # messages


def status_text(study: StudyFolder) -> str:
    """The state of a study in a few lines: counts, a line for each method, why cells failed, the time left, and how to go on.

    The time left is estimated from the wall times of the finished cells of the same row, else of all, with as many at a time as
    are running now.

    Args:
        study: from `read_study`.

    Returns:
        Lines ending in a newline.
    """
    counts = Counter[str](cell.state for cell in study.cells)
    told = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    parts = [f"{study.name} in {study.path}: {len(study.cells)} run{'s' * (len(study.cells) != 1)}: {told}", _rows(study)]
    troubled = [cell for cell in study.cells if cell.state in ("failed", "damaged")]
    if troubled:
        lines = [f"{cell} {cell.state}{_tried(cell)}: {_first_line(cell.message)}" for cell in troubled[:_MOST]]
        parts.append("\n".join([*lines, *([f"and {len(troubled) - _MOST} more"] if len(troubled) > _MOST else [])]))
    parts.append("\n".join(filter(None, [_time_left(study), _next_step(study, counts)])))
    return "\n\n".join(parts) + "\n"


def _rows(study: StudyFolder) -> str:
    lines = []
    names = {row: row_name(row) for row in study.rows}
    width = max(map(len, names.values()))
    for row, name in names.items():
        cells = [cell for cell in study.cells if cell.row == row]
        counts = Counter[str](cell.state for cell in cells)
        others = [
            *(f"{_repeat(cell)} {_progress(cell)}" for cell in cells if cell.state == "running"),
            *(f"{counts[state]} {state}" for state in _STATES if counts[state] and state not in ("finished", "running")),
        ]
        done = f"{counts['finished']} of {len(cells)} finished"
        lines.append("  ".join([name.ljust(width), ", ".join([done, *others])]))
    return "\n".join(lines)


def _repeat(cell: StudyCell) -> str:
    """What distinguishes a cell from the others of its row."""
    named = [f"{axis} {value}" if axis in ("seed", "fold") else value for axis, value in cell.axes.items()]
    return " ".join(named[len(cell.row) :])


def _progress(cell: StudyCell) -> str:
    if cell.epochs is None:
        return "starts"
    return f"at {cell.epochs} of {cell.max_epochs} epochs" if cell.max_epochs else f"at {cell.epochs} epochs"


def _tried(cell: StudyCell) -> str:
    return f" after {cell.attempts} attempts" if cell.attempts > 1 else ""


def _first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "no message")


def _time_left(study: StudyFolder) -> str:
    left = [cell for cell in study.cells if cell.state in _LEFT]
    known = {row: _seconds([cell for cell in study.cells if cell.row == row]) for row in study.rows}
    overall = _seconds(study.cells)
    if not left or overall is None:
        return ""
    seconds = sum((known[cell.row] or overall) * (1 - _share_done(cell)) for cell in left)
    at_once = max(sum(cell.state == "running" for cell in left), 1)
    unknown = [row_name(row) for row in dict.fromkeys(cell.row for cell in left) if known[row] is None]
    guessed = f" ({', '.join(unknown)}: as long as the others)" if unknown else ""
    return f"about {_duration(seconds / at_once)} left, {at_once} at a time, by the times of the finished runs{guessed}"


def _seconds(cells: Sequence[StudyCell]) -> float | None:
    times = [cell.run.number("wall_time_s") for cell in cells if cell.state == "finished" and cell.run is not None]
    found = [seconds for seconds in times if seconds is not None]
    return statistics.fmean(found) if found else None


def _share_done(cell: StudyCell) -> float:
    return min(cell.epochs / cell.max_epochs, 1.0) if cell.epochs and cell.max_epochs else 0.0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _next_step(study: StudyFolder, counts: Counter[str]) -> str:
    if counts["finished"] == len(study.cells):
        return f"the table: {study.path / 'study.txt'}"
    again = f"noisylab study --run_dir {shlex.quote(str(study.path))} --resume"
    if counts["running"]:
        troubled = counts["failed"] + counts["damaged"]
        return f"once it has ended, {again} tries the failed ones again" if troubled else ""
    return f"go on with: {again}"
