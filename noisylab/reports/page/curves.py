"""The curves: test accuracy against memorized labels for all methods, and each method by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noisylab.reports.page.blocks import Block, Figure, Fold, Grid, Legend, Section, Text
from noisylab.reports.page.chart import Chart, Line, Style, guide_swatch, line_chart, mark_style, swatch
from noisylab.reports.page.content import Content, Group
from noisylab.reports.page.pictures import charts_png

__all__ = ["curves_section", "overlays", "panels", "selection_section", "together"]

_MOST_LINES = 8  # in one chart; more take further charts
_MOST_OPEN = 6  # panels that are not folded away


class _Named(NamedTuple):
    name: str
    label: str
    style: Style


# the colors and dashes of noisylab.reports.figure
_FITTED = [
    _Named("test/acc", "test accuracy", Style(0)),
    _Named("val/acc", "held-out accuracy", Style(4, "1.5 2.5")),
    _Named("memorization/clean_acc", "correct labels fitted", Style(1, "7 3")),
    _Named("memorization/noisy_as_true", "wrong labels: truth recovered", Style(3, "7 2.5 1.5 2.5")),
    _Named("memorization/noisy_as_given", "wrong labels memorized", Style(2)),
]
_SELECTED = [
    _Named("select/precision", "precision: selected rows that are labeled right", Style(1)),
    _Named("select/recall", "recall: rows labeled right that are selected", Style(2, "7 3")),
]


class Series(NamedTuple):
    """Mean, lowest and highest of some runs, in the epochs that all of them have."""

    epochs: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def together(group: Group, name: str) -> Series | None:
    """A curve of all runs of a group; None where a run lacks it, or no value is finite.

    Epochs are counted from 1. An epoch that one of the runs lacks, or has no number for, has no mean: one over the others would
    jump.
    """
    curves = [run.curves.get(name) for run in group.runs]
    found = [curve for curve in curves if curve is not None]
    if not found or len(found) < len(curves):
        return None
    epochs = found[0].epochs
    for curve in found[1:]:
        epochs = np.intersect1d(epochs, curve.epochs)
    if not len(epochs):
        return None
    values = np.stack([curve.values[np.isin(curve.epochs, epochs)] for curve in found])
    values[~np.isfinite(values)] = np.nan
    if not np.isfinite(values).all(axis=0).any():
        return None
    with np.errstate(invalid="ignore"):  # of epochs without a number
        return Series(epochs + 1, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def curves_section(content: Content) -> Section:
    """For each task the test accuracy and the memorized labels of all methods, then each method by itself."""
    blocks: list[Block] = []
    several = len(content.tasks) > 1
    for number, task in enumerate(content.tasks, 1):
        groups, ending = content.of(task), f"-{number}" if several else ""
        charts = overlays(groups)
        if charts:
            blocks += [Text(task, "head")] if several else []
            blocks.append(_grid(charts, "wide", _marks(groups), f"curves{ending}"))
        small = panels(groups, _FITTED)
        if small:
            heading = f"Each method by itself{f': {task}' if several else ''}"
            grid = _grid(small, "small", _legend(_FITTED, groups), f"methods{ending}")
            blocks.append(Fold(heading, [grid], open=len(content.groups) <= _MOST_OPEN))
    if blocks:
        note = (
            "What a method learns shows in its accuracy; what it learns by heart in the wrong labels that it gives back. "
            "The axis of accuracies begins below the lowest one after the first tenth of training."
        )
        blocks.insert(0, Text(note, "soft"))
    return Section("curves", "Curves: clean against noisy", blocks)


def overlays(groups: Sequence[Group]) -> list[Chart]:
    """Charts of all groups of a task: test accuracy, or held-out accuracy without a test set, and memorized labels."""
    tested = any(together(group, "test/acc") for group in groups)
    first = ("test/acc", "Test accuracy") if tested else ("val/acc", "Held-out accuracy")
    found = []
    for name, title in (first, ("memorization/noisy_as_given", "Wrong labels memorized")):
        lines = [line for group in groups if (line := _line(group, name, group.name, mark_style(group.mark))) is not None]
        accuracy = name.endswith("/acc")
        low, high = (_floor(lines), 1.0) if accuracy else (0.0, _ceiling(lines))
        longest = max((int(line.epochs[-1]) for line in lines), default=1)
        for start in range(0, len(lines), _MOST_LINES):
            part = lines[start : start + _MOST_LINES]
            which = f", {start + 1} to {start + len(part)} of {len(lines)}" if len(lines) > _MOST_LINES else ""
            found.append(Chart(f"{title}{which}", part, low=low, high=high, last_epoch=longest))
    return found


def _line(group: Group, name: str, label: str, style: Style) -> Line | None:
    series = together(group, name)
    if series is None:
        return None
    several = len(group.runs) > 1
    return Line(label, series.epochs, series.mean, series.low if several else None, series.high if several else None, style)


def _floor(lines: Sequence[Line]) -> float:
    """A round lower end of the axis below all lines after the first tenth of training, in which all are low."""
    lows = []
    for line in lines:
        late = line.epochs > int(line.epochs[-1]) / 10
        values = (line.mean if line.low is None else line.low)[late]
        lows += [float(np.nanmin(values))] if np.isfinite(values).any() else []
    return max(float(np.floor(min(lows) * 10) / 10), 0.0) if lows else 0.0


def _ceiling(lines: Sequence[Line]) -> float:
    highs = [float(np.nanmax(line.mean if line.high is None else line.high)) for line in lines]
    return min(max(float(np.ceil(max(highs, default=1.0) * 10) / 10), 0.2), 1.0)


def panels(groups: Sequence[Group], names: Sequence[_Named]) -> list[Chart]:
    """A small chart for each group that has one of the curves; all have the same axes."""
    found = []
    longest = max((int(s.epochs[-1]) for group in groups for each in names if (s := together(group, each.name))), default=1)
    for group in groups:
        lines = [line for each in names if (line := _line(group, each.name, each.label, each.style)) is not None]
        if lines:
            warmup = group.runs[0].warmup_epochs
            guide = None if warmup is None else (warmup, f"end of the warm-up: {warmup:g} epochs")
            chart = Chart(group.name, lines, width=340, height=230, last_epoch=longest, labels=False, guide=guide)
            found.append(chart)
    return found


def _grid(charts: Sequence[Chart], size: Literal["wide", "small"], legend: Legend, name: str) -> Grid:
    figures = [Figure(line_chart(chart), title=chart.title) for chart in charts]
    return Grid(figures, size, legend, partial(charts_png, charts), name)


def selection_section(content: Content) -> Section:
    """Precision and recall of the rows taken as clean, for the methods that select."""
    blocks: list[Block] = []
    several = len(content.tasks) > 1
    for number, task in enumerate(content.tasks, 1):
        groups = content.of(task)
        small = panels(groups, _SELECTED)
        if small:
            if several:
                blocks.append(Text(task, "head"))
            blocks.append(_grid(small, "small", _legend(_SELECTED, groups), f"selection{f'-{number}' if several else ''}"))
    if blocks:
        note = "Of the training rows that a method takes as labeled right, against the true labels, which no method saw."
        blocks.insert(0, Text(note, "soft"))
    return Section("selection", "Selection", blocks)


def _marks(groups: Sequence[Group]) -> Legend:
    return Legend([(swatch(mark_style(group.mark)), group.name) for group in groups])


def _legend(names: Sequence[_Named], groups: Sequence[Group]) -> Legend:
    shown = [each for each in names if any(together(group, each.name) for group in groups)]
    entries = [(swatch(each.style), each.label) for each in shown]
    if any(group.runs[0].warmup_epochs for group in groups):
        entries.append((guide_swatch(), "end of the warm-up"))
    return Legend(entries)
