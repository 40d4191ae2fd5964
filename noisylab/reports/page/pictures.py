"""Charts as one PNG, for pages that cannot hold drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylab.reports.page.chart import Chart, Line
from noisylab.reports.spacing import spread
from noisylab.reports.style import STYLE, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLORS", "charts_png"]

COLORS = ("#1b1e23", "#0067a8", "#c24a05", "#007a59", "#a94f84", "#8f6400", "#5b6bbf", "#7a4b2a")
"""The colors `c0` to `c7` of the page's style in the light."""

_COLUMNS = {True: 2, False: 3}  # of charts with names at their lines' ends, and of small ones
_DISTANCES = {True: 0.052, False: 0.07}  # of labels, as a share of the height
_WIDTH = 1.8


def charts_png(charts: Sequence[Chart], path: Path) -> Path:
    """Draws charts beside each other; returns `path`. The file is whole or not there.

    Args:
        charts: at least one, all with or all without names at the lines' ends.
        path: ends in `.png`.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    named = charts[0].labels
    columns = min(_COLUMNS[named], len(charts))
    rows = math.ceil(len(charts) / columns)
    size = ((5.6 if named else 3.6) * columns, (3.3 if named else 2.7) * rows + (0 if named else 0.6))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        handles: dict[str, Any] = {}
        for axis, chart in zip(axes, charts, strict=False):
            _draw(axis, chart)
            for line in chart.lines:
                handles.setdefault(line.label, Line2D([], [], **_looks(line)))
        for axis in axes[len(charts) :]:
            axis.set_axis_off()
        if not named:
            figure.legend(
                list(handles.values()), list(handles), loc="outside upper left", ncols=min(columns, 3), frameon=False, fontsize=9
            )
        return save_png(figure, path)


def _looks(line: Line) -> dict[str, Any]:
    dashes = line.style.dashes
    lengths = tuple(float(each) / _WIDTH for each in dashes.split())  # matplotlib counts in widths of the line
    return {"color": COLORS[line.style.color], "linewidth": _WIDTH, "linestyle": (0, lengths) if lengths else "-"}


def _draw(axis: Axes, chart: Chart) -> None:
    from matplotlib.ticker import MaxNLocator

    longest = max(chart.last_epoch, *(int(line.epochs[-1]) for line in chart.lines))
    ends: list[tuple[float, str, str]] = []
    for line in chart.lines:
        looks, mean = _looks(line), 100 * line.mean
        if line.low is not None and line.high is not None:
            axis.fill_between(line.epochs, 100 * line.low, 100 * line.high, color=looks["color"], alpha=0.14, linewidth=0)
        axis.plot(line.epochs, mean, marker="o" if len(mean) == 1 else None, markersize=4, **looks)
        known = mean[np.isfinite(mean)]
        if len(known):
            ends.append((float(known[-1]), f"{line.label} {line.at_end}" if chart.labels else line.at_end, looks["color"]))
    low, high = 100 * chart.low, 100 * chart.high
    places = spread([value for value, _, _ in ends], _DISTANCES[chart.labels] * (high - low), low, high)
    for (_, text, color), place in zip(ends, places, strict=True):
        axis.annotate(
            text.replace("$", r"\$"), (longest, place), xytext=(6, 0), textcoords="offset points", color=color, fontsize=9,
            va="center", annotation_clip=False,
        )  # fmt: skip
    if chart.guide is not None and 0 < chart.guide[0] <= longest:
        axis.axvline(chart.guide[0], color="#777777", linewidth=0.9, linestyle=":", zorder=1)
    axis.set_title(chart.title.replace("$", r"\$"), loc="left", fontsize=11, fontweight="bold")
    axis.set(xlim=(0, longest), ylim=(low, high + 0.01 * (high - low)), xlabel="epochs trained", ylabel="percent")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    axis.set_axisbelow(True)
