"""The table of results: one row for each method under each noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from noisylab.reports.page.blocks import Block, Cell, Column, Section, Table, Text
from noisylab.reports.page.chart import mark_style, strip
from noisylab.reports.page.content import Content, Group
from noisylab.reports.page.words import count, duration, percents
from noisylab.reports.runs import RunFolder

__all__ = ["accuracy_of", "comparable", "results_section"]


class _Figure(NamedTuple):
    column: Column
    value: Callable[[RunFolder], float | None]
    digits: int = 2


def comparable(groups: Sequence[Group]) -> list[Group]:
    """Those that reached their last epoch; all where none did."""
    return [group for group in groups if group.complete] or list(groups)


def accuracy_of(content: Content) -> str:
    """What the figure is an accuracy on: without a test set it is one on held-out rows."""
    tested = {run.number("test", "headline", "last") is not None for run in content.runs}
    return "test accuracy" if tested == {True} else "held-out accuracy" if tested == {False} else "accuracy"


def _test(key: str) -> Callable[[RunFolder], float | None]:
    return lambda run: run.number("test", "headline", key)


_FIGURES = [
    _Figure(Column("last epoch", "test accuracy", number=True), _test("last")),
    _Figure(Column("mean of last ten", "test accuracy", number=True), _test("last10_mean")),
    _Figure(Column("best by validation", "test accuracy", number=True), _test("best_by_val")),
]
_BEST = _Figure(Column("best test epoch *", "test accuracy", number=True), _test("best"))
_HELD_OUT = _Figure(Column("held-out accuracy", number=True), lambda run: run.number("val", "last10_mean"))


def results_section(content: Content, *, best: bool, differences: Sequence[Block] = ()) -> Section:
    """The table, its notes, and how the methods differ.

    Args:
        content: with at least one run.
        best: whether to show the best test epoch, marked.
        differences: further blocks, on how the methods differ.
    """
    figures = _shown(content, best=best)
    pictures = any(content.figure(run) is not None for run in content.runs)
    columns = [Column("method"), *([Column("each run", picture=True)] if pictures else [])]
    what = accuracy_of(content)
    columns += [Column(content.figure_name, what, number=True), *(figure.column for figure in figures)]
    columns += [Column("runs", number=True), Column("time a run", number=True)]
    parts = []
    for task in content.tasks:
        groups = content.of(task)
        scale = _scale(content, groups)
        leading = _leading(content, groups)
        rows = [_row(content, group, figures, scale if pictures else None, leads=group is leading) for group in groups]
        parts.append((task if len(content.tasks) > 1 else "", rows))
    caption = f"{what.capitalize()} in percent: mean ± population standard deviation over the seeds"
    notes: list[Block] = [Text(_scales(content), "soft", picture=True)] if pictures else []
    notes += [Text(note, "soft") for note in _notes(content, figures, best=best)]
    return Section("results", "Results", [Table(columns, parts, caption), *notes, *differences])


def _shown(content: Content, *, best: bool) -> list[_Figure]:
    """The figures that some run has and that are not what all are compared by already."""
    found = []
    for figure in [*_FIGURES, *([_BEST] if best else []), _HELD_OUT]:
        values = [figure.value(run) for run in content.runs]
        if any(value is not None for value in values) and values != [content.figure(run) for run in content.runs]:
            found.append(figure)
    return found


def _scale(content: Content, groups: Sequence[Group]) -> tuple[float, float]:
    values = [value for group in groups for run in group.runs if (value := content.figure(run)) is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _leading(content: Content, groups: Sequence[Group]) -> Group | None:
    """The group with the highest mean; None where it stands alone."""
    found = [(group.spread(content.figure)[0], group) for group in comparable(groups)]
    known = [(mean, group) for mean, group in found if mean is not None]
    return max(known, key=lambda each: each[0])[1] if len(known) > 1 else None


def _row(
    content: Content, group: Group, figures: Sequence[_Figure], scale: tuple[float, float] | None, *, leads: bool
) -> list[Cell]:
    values = [content.figure(run) for run in group.runs]
    row = [Cell(group.name, mark=group.mark)]
    if scale is not None:
        known = [value for value in values if value is not None]
        text = f"{group.label}: {', '.join(percents(value, 2) for value in known)}"
        row.append(Cell(svg=strip(known, *scale, mark_style(group.mark).color, text) if known else ""))
    row.append(Cell(group.spread(content.figure)[1], kind="main" if leads else ""))
    row += [Cell(group.spread(figure.value, figure.digits)[1]) for figure in figures]
    times = [run.number("wall_time_s") for run in group.runs]
    known_times = [seconds for seconds in times if seconds is not None]
    mean_time = sum(known_times) / len(known_times) if known_times and len(known_times) == len(times) else None
    return [*row, Cell(str(len(group.runs))), Cell(duration(mean_time))]


def _scales(content: Content) -> str:
    words = [" to ".join(percents(end) for end in _scale(content, content.of(task))) for task in content.tasks]
    each = "; ".join(f"{task}: {text}" for task, text in zip(content.tasks, words, strict=True)) if len(words) > 1 else words[0]
    return f"Each run is a dot by the first figure, a bar is the mean; the scale is in percent, {each}."


def _notes(content: Content, figures: Sequence[_Figure], *, best: bool) -> list[str]:
    notes = []
    if any(len(content.of(task)) > 1 for task in content.tasks):
        notes.append(
            "Bold: the highest mean of the first figure. Other seeds need not show the same: look at the spread of the runs."
        )
    if any(figure is _HELD_OUT for figure in figures):
        notes.append(
            "Held-out accuracy: mean of the last ten epochs on the held-out training rows. Where their labels are the given "
            "ones, even a perfect classifier reaches no more than about the share of right labels."
        )
    if best:
        notes.append("*: highest of all epochs, chosen on the test set: an upper bound, not a protocol.")
    if not all(group.complete for group in content.groups):
        notes.append("†: its runs stopped before their last epoch; resume them before they are compared.")
    shorter = [run for run in content.runs if (run.number("epochs") or 10) < 10]
    if shorter:
        notes.append(
            f"{count(len(shorter), 'run is', 'runs are')} shorter than ten epochs: their mean of the last ten is over all."
        )
    return notes
