"""The figure of clean and noisy curves: what a method learns and what it memorizes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from noisylab.reports.runs import RunFolder, distinctions
from noisylab.reports.spacing import spread
from noisylab.reports.style import STYLE, png_path, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves_figure"]


class _Line(NamedTuple):
    name: str
    label: str
    color: str
    style: Any  # of matplotlib: a name, or offset and lengths of dashes and gaps
    width: float


# Colors of Okabe and Ito (2008), told apart with any color vision; styles tell them apart in gray.
_LINES = [
    _Line("test/acc", "test accuracy", "#000000", "-", 2.0),
    _Line("val/acc", "validation accuracy", "#CC79A7", (0, (1, 1.2)), 1.8),
    _Line("memorization/clean_acc", "correct labels fitted", "#0072B2", (0, (6, 2)), 1.8),
    _Line("memorization/noisy_as_true", "wrong labels: truth recovered", "#009E73", (0, (4, 1.5, 1, 1.5)), 1.8),
    _Line("memorization/noisy_as_given", "wrong labels memorized", "#D55E00", "-", 2.0),
]
_WARMUP = "end of the warm-up"
_PANEL = (3.6, 3.3)  # inches
_MOST_IN_A_ROW = 4
_SUBTITLE_CHARACTERS = 46  # what fits over a panel
_LABEL_DISTANCE = 5.5  # percent points between the numbers at the curves' ends


def curves_figure(runs: Sequence[RunFolder], path: str | os.PathLike[str]) -> Path:
    """Draws one panel per run, side by side on shared axes, and writes them as a PNG.

    Each panel shows, in percent over the epochs trained, the test accuracy, the share of correct training labels the
    network fits, the share of wrong training labels for which it gives the truth, and the share of wrong training
    labels it memorizes. The number at a curve's end is its last value. A thin line marks the end of the warm-up where
    the config has `model.init_args.warmup_epochs`. The file is whole or not there.

    Args:
        runs: at least one; more than four take two rows.
        path: ends in `.png`; the folder is made if missing, a file there is replaced.

    Returns:
        `path`.

    Raises:
        ValueError: no runs, another ending, or a run that logged none of these curves.
    """
    if not runs:
        raise ValueError("runs is empty; give at least one run, for example read_run(path) of each of find_runs('runs')")
    target = png_path(path)
    for run in runs:
        if not any(line.name in run.curves for line in _LINES):
            wanted = ", ".join(line.name for line in _LINES)
            raise ValueError(f"run {run.path} has none of the curves {wanted} in metrics.csv; leave it out")

    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = len(runs) if len(runs) <= _MOST_IN_A_ROW else math.ceil(len(runs) / 2)
    rows = math.ceil(len(runs) / columns)
    subtitles = [_subtitle(run, parts) for run, parts in zip(runs, distinctions(runs), strict=True)]
    subtitle_lines = max(len(lines) for lines in subtitles)
    with matplotlib.rc_context(STYLE):
        size = (max(_PANEL[0] * columns, 5.2) + 0.5, (_PANEL[1] + 0.15 * subtitle_lines) * rows + 0.6)
        figure = Figure(figsize=size, dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        handles: dict[str, Any] = {}
        for position, (axis, run, subtitle) in enumerate(zip(axes, runs, subtitles, strict=False)):
            handles |= _curves(axis, run)
            _titles(axis, run.method, subtitle, subtitle_lines)
            if position + columns >= len(runs):
                axis.set_xlabel("epochs trained")
                axis.tick_params(labelbottom=True)
            if position % columns == 0:
                axis.set_ylabel("percent")
        for axis in axes[len(runs) :]:
            axis.set_axis_off()
        drawn = [run.curves[line.name] for run in runs for line in _LINES if line.name in run.curves]
        longest = max(int(curve.epochs[-1]) + 1 for curve in drawn)
        axes[0].set_xlim(0, longest)
        axes[0].set_ylim(-1.5, 101.5)  # shows the whole width of a line at 0 or 100
        shown = [label for label in [*(line.label for line in _LINES), _WARMUP] if label in handles]
        figure.legend(
            [handles[label] for label in shown],
            shown,
            loc="outside upper center",
            ncols=len(shown) if columns >= 3 else columns + 1,
            fontsize=9.5,
            frameon=False,
            handlelength=2.8,
        )
        return save_png(figure, target)


def _curves(axis: Axes, run: RunFolder) -> dict[str, Any]:
    """Draws the curves of one run; returns what to put in the legend, by label."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    handles: dict[str, Any] = {}
    ends: list[tuple[float, float, str]] = []  # epochs trained, percent, color
    for line in _LINES:
        curve = run.curves.get(line.name)
        if curve is None or not any(math.isfinite(value) for value in curve.values):
            continue
        trained, values = curve.epochs + 1, 100 * curve.values
        axis.plot(
            trained,
            values,
            color=line.color,
            linestyle=line.style,
            linewidth=line.width,
            marker="o" if len(trained) <= 3 else None,
            markersize=4,
            zorder=3,
        )
        handles[line.label] = Line2D([], [], color=line.color, linestyle=line.style, linewidth=line.width)
        last = max(position for position, value in enumerate(values) if math.isfinite(value))
        ends.append((float(trained[last]), float(values[last]), line.color))
    heights = spread([value for _, value, _ in ends], _LABEL_DISTANCE)
    end = max((trained for trained, _, _ in ends), default=0.0)  # diagnostics may end some epochs before the tests
    for (_, value, color), height in zip(ends, heights, strict=True):
        axis.annotate(
            f"{value:.1f}",
            (end, height),
            xytext=(6, 0),
            textcoords="offset points",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
    if run.warmup_epochs and run.warmup_epochs <= end:
        handles[_WARMUP] = axis.axvline(run.warmup_epochs, color="#777777", linewidth=0.9, linestyle=":", zorder=1)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    axis.set_axisbelow(True)
    return handles


def _subtitle(run: RunFolder, parts: Sequence[str]) -> list[str]:
    """Data and noise, then what else tells the run from the others, in lines that fit over a panel."""
    facts = [run.data, run.noise]
    if run.measured_rate is not None:
        facts.append(f"{100 * run.measured_rate:.1f} % wrong")
    facts += [part for part in parts if part not in facts]
    if not run.complete:
        facts.append("stopped early")
    lines = [facts[0]]
    for fact in facts[1:]:
        longer = f"{lines[-1]} · {fact}"
        if len(longer) <= _SUBTITLE_CHARACTERS:
            lines[-1] = longer
        else:
            lines.append(fact)
    return lines


def _titles(axis: Axes, title: str, subtitle: Sequence[str], most_lines: int) -> None:
    axis.set_title(title, loc="left", fontsize=12 * min(1.0, 26 / len(title)), fontweight="bold", pad=10 + 11 * most_lines)
    axis.annotate(
        "\n".join(subtitle),
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 8 + 11 * (most_lines - len(subtitle))),  # directly under the title
        textcoords="offset points",
        color="#444444",
        fontsize=8.5,
        linespacing=1.1,
    )
