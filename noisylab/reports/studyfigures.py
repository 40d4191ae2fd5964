"""The figures of a study: what each row came to under each noise, over its seeds, and against the baseline."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from noisylab.reports.paired import PairedDifference, paired_difference
from noisylab.reports.results import Spread
from noisylab.reports.runs import RunFolder
from noisylab.reports.studyfolder import CellState, StudyCell, StudyFolder

__all__ = [
    "FIGURES",
    "Entry",
    "Figure",
    "RowCost",
    "baseline_row",
    "entries_of",
    "has_unlabeled_rows",
    "held_out_labels",
    "principal",
    "row_cost",
    "row_name",
]


@dataclass(frozen=True)
class Figure:
    """One number of a run.

    Args:
        title: of its own table.
        column: of a table that has others, too.
        read: the number, a fraction, from a run; None where it has none.
        shown: when the table shows it beside the principal one. Files have all that there are, but for what has to be asked for.
        note: what has to be said of it.
    """

    title: str
    column: str
    read: Callable[[RunFolder], float | None]
    shown: Literal["", "always", "unlabeled", "asked"] = ""
    note: str = ""


def _summary(*keys: str) -> Callable[[RunFolder], float | None]:
    return lambda run: run.number(*keys)


def _curve(name: str, *, last: bool = False) -> Callable[[RunFolder], float | None]:
    return lambda run: _mean(run, name, last)


_LAST_TENTH = "last tenth: mean over the last tenth of the epochs, at least one."
_USED = "used: mean weight of the unlabeled rows in the last tenth, and the share of it that was on right pseudo-labels."

FIGURES = {
    "last": Figure("Test accuracy in the last epoch", "last epoch", _summary("test", "headline", "last")),
    "last10": Figure(
        "Test accuracy, mean of the last ten epochs",
        "mean of last 10",
        _summary("test", "headline", "last10_mean"),
        note="mean of last 10: over the last ten epochs, or all of a shorter run.",
    ),
    "by_val": Figure(
        "Test accuracy in the best epoch by held-out rows",
        "by held-out",
        _summary("test", "headline", "best_by_val"),
        "always",
        "by held-out: test accuracy in the epoch that the held-out rows choose.",
    ),
    "held_out": Figure("Accuracy on held-out rows in the last epoch", "held-out", _summary("val", "last"), "always"),
    "held_out_last10": Figure(
        "Accuracy on held-out rows, mean of the last ten epochs",
        "held-out, last 10",
        _summary("val", "last10_mean"),
        note="held-out, last 10: mean of the last ten epochs, or all of a shorter run.",
    ),
    "best_chosen_on_test": Figure(
        "Highest test accuracy of all epochs*",
        "best*",
        _summary("test", "headline", "best"),
        "asked",
        "*chosen on the test set: an upper bound, not a protocol.",
    ),
    "last_tenth": Figure("Test accuracy, last tenth of the epochs", "last tenth", _curve("test/acc"), "unlabeled", _LAST_TENTH),
    "top5_last": Figure("Top-5 accuracy in the last epoch", "top-5, last epoch", _curve("test/top5", last=True), "unlabeled"),
    "top5_last_tenth": Figure(
        "Top-5 accuracy, last tenth of the epochs", "top-5, last tenth", _curve("test/top5"), "unlabeled", _LAST_TENTH
    ),
    "used": Figure("Unlabeled rows used", "used", _curve("unlabeled/used"), "unlabeled", _USED),
    "used_right": Figure("Right among the used", "right among used", _curve("unlabeled/used_right"), "unlabeled", _USED),
    "right": Figure("Right pseudo-labels among all", "right among all", _curve("unlabeled/acc"), "unlabeled"),
}
"""By the name that files have for it."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One row under one noise.

    A seed counts once all its folds are finished, and a figure where every seed that counts has it: a mean over some of them
    would pass for one over all.

    Args:
        row: method, or method and setting.
        noise: its name, "" in a study without that axis.
        cells: in the order of the plan.
        seeds: that count, in the order of the plan.
        figures: by name; each by (seed,) or (seed, fold), fractions.
        wall_time_s: mean of the finished runs, seconds; None where there is none.
        difference: of the principal figure from the baseline; None for the baseline itself, and where they share no seed.
        cost: wall time relative to that of the baseline, over the runs that both have finished; None likewise.
    """

    row: tuple[str, ...]
    noise: str
    cells: tuple[StudyCell, ...]
    seeds: tuple[str, ...]
    figures: Mapping[str, Mapping[tuple[str, ...], float]]
    wall_time_s: float | None
    difference: PairedDifference | None = None
    cost: float | None = None

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """The finished ones."""
        return tuple(cell.run for cell in self.cells if cell.state == "finished" and cell.run is not None)

    def count(self, state: CellState) -> int:
        """How many of its cells are in a state."""
        return sum(cell.state == state for cell in self.cells)

    def spread(self, figure: str) -> Spread | None:
        """Mean and population standard deviation over the seeds, of each the mean over its folds; of one seed, over its folds."""
        values = self.figures.get(figure)
        if not values:
            return None
        each = [statistics.fmean([value for key, value in values.items() if key[0] == seed]) for seed in self.seeds]
        if len(each) == 1:
            each = list(values.values())
        return Spread(statistics.fmean(each), statistics.pstdev(each))

    @property
    def repeats(self) -> int:
        """Over how many values the standard deviation of `spread` is."""
        return len(self.seeds) if len(self.seeds) != 1 else sum(cell.repeat[0] == self.seeds[0] for cell in self.cells)


def row_name(row: Sequence[str]) -> str:
    """Method and, where there is one, setting, in words.

    Example:
        >>> row_name(("ELR", "slow")), row_name(("CE", ""))
        ('ELR, slow', 'CE')
    """
    return ", ".join(part for part in row if part)


def baseline_row(study: StudyFolder, asked: str | None) -> tuple[str, ...]:
    """The row that the others are compared with.

    Args:
        study: which names a method as the baseline, or none: then it is the first row.
        asked: a method, or method and setting as `row_name` has them; None for the study's own. Of a method with several
            settings, it is the first.

    Raises:
        ValueError: the study has no such row.
    """
    name = study.baseline if asked is None else asked
    rows = study.rows
    if name is None:
        return rows[0]
    found = [row for row in rows if name in (row_name(row), "-".join(filter(None, row)))]
    found += [row for row in rows if row[0] == name]
    if not found:
        raise ValueError(f"baseline={name!r}: the study has no such method; it has {'; '.join(map(row_name, rows))}")
    return found[0]


def principal(study: StudyFolder) -> str:
    """The figure that rows are compared by, a key of `FIGURES`.

    The test accuracy of the last epoch; its mean over the last ten where the runs hold out no rows, as their protocol says;
    without a test set, the mean over the last ten of the accuracy on held-out rows. Methods that learn from unlabeled rows are
    compared by the last epoch, as is usual there.
    """
    runs = [cell.run for cell in study.cells if cell.state == "finished" and cell.run is not None]
    if runs and all(run.number("test", "headline", "last") is None for run in runs):
        return "held_out_last10"
    held_out = any(run.number("val", "last") is not None for run in runs)
    return "last" if held_out or not runs or has_unlabeled_rows(runs) else "last10"


def has_unlabeled_rows(runs: Sequence[RunFolder]) -> bool:
    """Whether one of them tells how it used unlabeled rows."""
    return any("unlabeled/used" in run.curves for run in runs)


def held_out_labels(runs: Sequence[RunFolder]) -> str:
    """By which labels the held-out rows are judged, in words: "given labels", "clean labels", or "" where that differs."""
    kinds = {kind for run in runs for kind in ("given labels", "clean labels") if f"{kind} of" in run.protocol}
    return kinds.pop() if len(kinds) == 1 else ""


def entries_of(
    study: StudyFolder, baseline: tuple[str, ...], figure: str, *, best: bool = False
) -> dict[tuple[tuple[str, ...], str], Entry]:
    """Every row under every noise of a study that was planned, in its order.

    Args:
        study: the study.
        baseline: one of its rows.
        figure: by which rows are compared, a key of `FIGURES`.
        best: whether the entries have the figure that is chosen on the test set, too.
    """
    cells: dict[tuple[tuple[str, ...], str], list[StudyCell]] = {}
    for cell in study.cells:
        cells.setdefault((cell.row, cell.noise), []).append(cell)
    names = [name for name, each in FIGURES.items() if best or each.shown != "asked"]
    alone = {key: _entry(*key, found, names) for key, found in cells.items()}
    return {key: _compared(entry, alone.get((baseline, entry.noise)), figure) for key, entry in alone.items()}


def _entry(row: tuple[str, ...], noise: str, cells: Sequence[StudyCell], names: Sequence[str]) -> Entry:
    seeds = tuple(dict.fromkeys(cell.repeat[0] for cell in cells))
    open_ = {cell.repeat[0] for cell in cells if cell.state != "finished"}
    whole = tuple(seed for seed in seeds if seed not in open_)
    runs = {cell.repeat: cell.run for cell in cells if cell.repeat[0] in whole and cell.run is not None}
    figures = {}
    for name in names:
        found = {repeat: FIGURES[name].read(run) for repeat, run in runs.items()}
        values = {repeat: value for repeat, value in found.items() if value is not None}
        if values and len(values) == len(found):
            figures[name] = values
    times = _all_seconds(cells).values()
    return Entry(row, noise, tuple(cells), whole, figures, statistics.fmean(times) if times else None)


def _compared(entry: Entry, baseline: Entry | None, figure: str) -> Entry:
    if baseline is None or baseline.row == entry.row:
        return entry
    times, others = _all_seconds(entry.cells), _all_seconds(baseline.cells)
    both = [repeat for repeat in times if repeat in others]
    spent = math.fsum(others[repeat] for repeat in both)
    return replace(
        entry,
        difference=paired_difference(entry.figures.get(figure, {}), baseline.figures.get(figure, {})),
        cost=math.fsum(times[repeat] for repeat in both) / spent if spent else None,
    )


@dataclass(frozen=True)
class RowCost:
    """What a row cost, over all noises.

    Args:
        seconds: mean wall time of its finished runs; None where there is none.
        relative: to that of the baseline's, over the runs that both have finished; None likewise, and for the baseline.
        epochs: of a finished run, the mean; None likewise.
    """

    seconds: float | None
    relative: float | None
    epochs: float | None


def row_cost(study: StudyFolder, row: tuple[str, ...], baseline: tuple[str, ...]) -> RowCost:
    """What a row of a study cost, and relative to the baseline."""
    mine, theirs = (_all_seconds([cell for cell in study.cells if cell.row == which]) for which in (row, baseline))
    both = [key for key in mine if key in theirs]
    spent = math.fsum(theirs[key] for key in both)
    runs = [cell.run for cell in study.cells if cell.row == row and cell.state == "finished" and cell.run is not None]
    epochs = [found for run in runs if (found := run.number("epochs")) is not None]
    return RowCost(
        seconds=statistics.fmean(mine.values()) if mine else None,
        relative=math.fsum(mine[key] for key in both) / spent if spent and row != baseline else None,
        epochs=statistics.fmean(epochs) if epochs else None,
    )


def _all_seconds(cells: Sequence[StudyCell]) -> dict[tuple[str, ...], float]:
    """Wall time of each finished run, by its noise, seed and fold."""
    runs = {(cell.noise, *cell.repeat): cell.run for cell in cells if cell.state == "finished" and cell.run is not None}
    found = {key: run.number("wall_time_s") for key, run in runs.items()}
    return {key: seconds for key, seconds in found.items() if seconds is not None}


def _mean(run: RunFolder, name: str, last: bool) -> float | None:
    """A curve in the last epoch, or its mean over the last tenth of the epochs; an epoch without a value does not count."""
    curve = run.curves.get(name)
    if curve is None:
        return None
    epochs = max(len(found.values) for found in run.curves.values())
    values = curve.values[-1:] if last else curve.values[-max(epochs // 10, 1) :]
    known = [float(value) for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else None
