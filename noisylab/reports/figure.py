"""The figure of clean and noisy curves: what a method learns and what it memorises."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from noisylab.reports.atomic import atomic_path
from noisylab.reports.runs import RunFolder, run_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves_figure"]


class _Line(NamedTuple):
    name: str
    label: str
    color: str
    style: str | tuple[int, tuple[float, ...]]
    width: float


# Colours of Okabe and Ito (2008), told apart with any colour vision; styles tell them apart in grey.
_LINES = [
    _Line("test/acc", "test accuracy", "#000000", "-", 2.0),
    _Line("memorization/clean_acc", "correct labels fitted", "#0072B2", (0, (6, 2)), 1.8),
    _Line("memorization/noisy_as_true", "wrong labels: truth recovered", "#009E73", (0, (4, 1.5, 1, 1.5)), 1.8),
    _Line("memorization/noisy_as_given", "wrong labels memorised", "#D55E00", "-", 2.0),
]
_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}
_PANEL = (3.5, 3.3)  # inches
_MOST_IN_A_ROW = 4
_LABEL_DISTANCE = 5.5  # percent points between the numbers at the curves' ends


def curves_figure(runs: Sequence[RunFolder], path: str | os.PathLike[str]) -> Path:
    """Draws one panel a run, side by side on shared axes, and writes them as a PNG.

    Each panel shows, in percent over the epochs trained, the test accuracy, the share of correct training labels the
    network fits, the share of wrong training labels for which it gives the truth, and the share of wrong training
    labels it memorises. The number at a curve's end is its last value. A thin line marks the end of the warm-up where
    the config has `model.init_args.warmup_epochs`. The file is whole or not there.

    Args:
        runs: at least one; more than four take two rows.
        path: ends in `.png`; the folder is made if missing, a file there is replaced.

    Returns:
        `path`.

    Raises:
        ValueError: no runs, another ending, or a run that logged none of the four curves.
    """
    if not runs:
        raise ValueError("runs is empty; give at least one run, for example read_run(path) of each of find_runs('runs')")
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(f"path={str(target)!r} does not end in .png, the one format written; rename it")
    for run in runs:
        if not any(line.name in run.curves for line in _LINES):
            wanted = ", ".join(line.name for line in _LINES)
            raise ValueError(f"run {run.path} has none of the curves {wanted} in metrics.csv; leave it out")

    import matplotlib
    from matplotlib.figure import Figure

    columns = len(runs) if len(runs) <= _MOST_IN_A_ROW else math.ceil(len(runs) / 2)
    rows = math.ceil(len(runs) / columns)
    with matplotlib.rc_context(_STYLE):
        size = (max(_PANEL[0] * columns, 5.2) + 0.5, _PANEL[1] * rows + 0.7)
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        handles: dict[str, Any] = {}
        for axis, run, title in zip(axes, runs, run_labels(runs, with_noise=False), strict=False):
            handles |= _panel(axis, run, title)
        for axis in axes[len(runs) :]:
            axis.set_axis_off()
            axis.set_in_layout(False)
        for position, axis in enumerate(axes[: len(runs)]):
            if position + columns >= len(runs):
                axis.set_xlabel("epochs trained")
                axis.tick_params(labelbottom=True)
            if position % columns == 0:
                axis.set_ylabel("percent")
        shown = [line.label for line in _LINES if line.label in handles]
        figure.legend(
            [handles[label] for label in shown],
            shown,
            loc="outside upper center",
            ncols=4 if columns >= 3 else 2,
            frameon=False,
            handlelength=2.8,
        )
        with atomic_path(target) as partial:
            figure.savefig(partial, format="png")
    return target


def _panel(axis: Axes, run: RunFolder, title: str) -> dict[str, Any]:
    from matplotlib.ticker import MaxNLocator

    handles: dict[str, Any] = {}
    ends: list[tuple[float, float, str]] = []  # epochs trained, percent, colour
    for line in _LINES:
        curve = run.curves.get(line.name)
        if curve is None or not any(math.isfinite(value) for value in curve.values):
            continue
        trained, values = curve.epochs + 1, 100 * curve.values
        (handles[line.label],) = axis.plot(
            trained,
            values,
            color=line.color,
            linestyle=line.style,
            linewidth=line.width,
            marker="o" if len(trained) <= 3 else None,
            markersize=4,
            clip_on=False,
            zorder=3,
        )
        last = max(position for position, value in enumerate(values) if math.isfinite(value))
        ends.append((float(trained[last]), float(values[last]), line.color))
    heights = _spread([value for _, value, _ in ends], _LABEL_DISTANCE)
    for (_, value, color), height in zip(ends, heights, strict=True):
        axis.annotate(
            f"{value:.1f}",
            (1.0, height),
            xycoords=axis.get_yaxis_transform(),
            xytext=(5, 0),
            textcoords="offset points",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
    if run.warmup_epochs:
        axis.axvline(run.warmup_epochs, color="#888888", linewidth=0.8, linestyle=":", zorder=1)
        axis.annotate(
            "warm-up ends",
            (run.warmup_epochs, 1.0),
            xycoords=axis.get_xaxis_transform(),
            xytext=(3, -1),
            textcoords="offset points",
            color="#666666",
            fontsize=8,
            va="top",
        )
    axis.set_ylim(0, 100)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    axis.set_axisbelow(True)
    wrong = "" if run.measured_rate is None else f" · {100 * run.measured_rate:.1f} % of labels wrong"
    stopped = "" if run.complete else " · stopped early"
    axis.set_title(f"{title}{stopped}", loc="left", fontsize=12, fontweight="bold", pad=22)
    axis.annotate(
        f"{run.data} · {run.noise}{wrong}",
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 7),
        textcoords="offset points",
        color="#444444",
        fontsize=8.5,
    )
    return handles


def _spread(values: Sequence[float], distance: float) -> list[float]:
    """Heights near `values`, in their order, at least `distance` apart and within [0, 100] where they fit.

    Example:
        >>> _spread([50.0, 51.0, 90.0], 5.0)
        [50.0, 55.0, 90.0]
    """
    order = sorted(range(len(values)), key=lambda position: values[position])
    heights = list(values)
    for lower, upper in itertools.pairwise(order):
        heights[upper] = max(heights[upper], heights[lower] + distance)
    ceiling = 100.0
    for position in reversed(order):  # push back down what the first pass lifted over the top
        heights[position] = min(heights[position], ceiling)
        ceiling = heights[position] - distance
    return heights
