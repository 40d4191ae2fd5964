"""The figure of what methods did with rows without a label: how many they used, how rightly, and what it did to the losses."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from noisylab.reports.runs import RunFolder, distinctions
from noisylab.reports.style import STYLE, png_path, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["has_unlabeled", "unlabeled_figure"]


class _Line(NamedTuple):
    name: str
    label: str
    color: str
    style: Any  # of matplotlib
    width: float


class _Panel(NamedTuple):
    title: str
    percent: bool
    lines: tuple[_Line, ...]


# Colors of Okabe and Ito (2008), as in the figure of the curves.
_PANELS = (
    _Panel(
        "percent",
        True,
        (
            _Line("unlabeled/used", "unlabeled rows used", "#0072B2", "-", 2.0),
            _Line("unlabeled/used_right", "right among those used", "#009E73", (0, (4, 1.5, 1, 1.5)), 1.8),
            _Line("unlabeled/acc", "right among all", "#CC79A7", (0, (1, 1.2)), 1.8),
            _Line("test/acc", "test accuracy", "#000000", (0, (6, 2)), 1.6),
        ),
    ),
    _Panel(
        "loss",
        False,
        (
            _Line("train/labeled_loss", "labeled loss", "#D55E00", "-", 1.8),
            _Line("unlabeled/weighted_loss", "unlabeled loss, weighted", "#56B4E9", (0, (6, 2)), 1.8),
        ),
    ),
    _Panel(
        "probability",
        True,
        (
            _Line("unlabeled/confidence", "mean confidence", "#E69F00", "-", 1.8),
            _Line("unlabeled/threshold", "threshold", "#444444", (0, (3, 1.5)), 1.6),
        ),
    ),
)
_SIZE = (3.3, 1.75)  # of a panel, inches
_MOST_IN_A_ROW = 4
_CHARACTERS = 40  # what fits over a column


def has_unlabeled(run: RunFolder) -> bool:
    """Whether a run logged what it did with unlabeled rows."""
    return "unlabeled/used" in run.curves


def unlabeled_figure(runs: Sequence[RunFolder], path: str | os.PathLike[str]) -> Path:
    """Draws three panels for each run, one run beside the other on shared axes, and writes them as a PNG.

    Over the epochs trained: in percent, the mean weight of the unlabeled rows in the loss, the share of it that is on right
    pseudo-labels, the share of right ones among all, and the test accuracy; the loss of the labeled rows and the weighted one of
    the unlabeled rows, on a logarithmic scale where they differ much; the mean confidence and the threshold. What a run did not
    log is not drawn: the shares of right ones need true labels. The file is whole or not there.

    Args:
        runs: at least one; more than four take further rows.
        path: ends in `.png`; the folder is made if missing, a file there is replaced.

    Returns:
        `path`.

    Raises:
        ValueError: no runs, another ending, or a run that logged nothing of the kind.
    """
    if not runs:
        raise ValueError("runs is empty; give at least one run, for example read_run(path) of each of find_runs('runs')")
    target = png_path(path)
    for run in runs:
        if not has_unlabeled(run):
            raise ValueError(
                f"run {run.path} has no unlabeled/used in metrics.csv: its method uses no unlabeled rows; leave it out"
            )

    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(len(runs), _MOST_IN_A_ROW)
    blocks = math.ceil(len(runs) / columns)
    with matplotlib.rc_context(STYLE):
        size = (max(_SIZE[0] * columns, 5.4) + 0.5, (_SIZE[1] * len(_PANELS) + 0.5) * blocks + 0.9)
        figure = Figure(figsize=size, dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.05))
        grid = figure.subplots(len(_PANELS) * blocks, columns, sharex=True, squeeze=False)
        longest = max(int(run.curves["unlabeled/used"].epochs[-1]) + 1 for run in runs)
        low, high = _loss_range(runs)
        handles: dict[str, Any] = {}
        for position, (run, parts) in enumerate(zip(runs, distinctions(runs), strict=True)):
            block, column = divmod(position, columns)
            for number, panel in enumerate(_PANELS):
                axis = grid[block * len(_PANELS) + number][column]
                handles |= _draw(axis, run, panel)
                axis.set_xlim(0, longest)
                if panel.percent:
                    axis.set_ylim(-0.015, 1.015)
                    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"] if panel.title == "percent" else None)
                else:
                    axis.set_yscale("log" if low > 0 and high / low > 20 else "linear")
                    axis.set_ylim(low * 0.8 if axis.get_yscale() == "log" else 0, high * 1.1)
                if column == 0:
                    axis.set_ylabel(panel.title)
                else:
                    axis.tick_params(labelleft=False)
            top, bottom = grid[block * len(_PANELS)][column], grid[(block + 1) * len(_PANELS) - 1][column]
            top.set_title(_title(run, parts), loc="left", fontsize=11, fontweight="bold")
            bottom.set_xlabel("epochs trained")
            bottom.tick_params(labelbottom=True)
        for axis in grid[-len(_PANELS) :, len(runs) - (blocks - 1) * columns :].flatten():
            axis.set_axis_off()
        figure.align_ylabels()
        order = [line.label for panel in _PANELS for line in panel.lines if line.label in handles]
        figure.legend(
            [handles[label] for label in order],
            order,
            loc="outside upper center",
            ncols=4 if columns > 2 else 2,
            fontsize=9.5,
            frameon=False,
            handlelength=2.8,
        )
        return save_png(figure, target)


def _draw(axis: Axes, run: RunFolder, panel: _Panel) -> dict[str, Any]:
    """Draws one panel; returns what to put in the legend, by label."""
    from matplotlib.ticker import MaxNLocator

    handles: dict[str, Any] = {}
    for line in panel.lines:
        curve = run.curves.get(line.name)
        if curve is None or not np.isfinite(curve.values).any():
            continue
        (handles[line.label],) = axis.plot(
            curve.epochs + 1,
            curve.values,
            color=line.color,
            linestyle=line.style,
            linewidth=line.width,
            marker="o" if len(curve.epochs) <= 3 else None,
            markersize=4,
            zorder=3,
        )
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    axis.set_axisbelow(True)
    return handles


def _loss_range(runs: Sequence[RunFolder]) -> tuple[float, float]:
    """The lowest and the highest loss that is drawn; of those above 0 where there are any."""
    names = [line.name for panel in _PANELS if not panel.percent for line in panel.lines]
    values = np.concatenate([run.curves[name].values for run in runs for name in names if name in run.curves] or [np.ones(1)])
    values = values[np.isfinite(values) & (values > 0)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _title(run: RunFolder, parts: Sequence[str]) -> str:
    """The method and what tells the run from the others, in lines that fit over a column."""
    lines = [run.method]
    for part in parts:
        if len(lines[-1]) + len(part) + 2 <= _CHARACTERS:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return "\n".join(lines)
