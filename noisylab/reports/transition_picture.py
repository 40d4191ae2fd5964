"""The figure of an estimated transition matrix beside the true one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noisylab.reports.style import STYLE, png_path, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["transition_figure"]

# one hue that darkens, and two hues that are told apart with any color vision
_SHARES, _DIFFERENCES = "Blues", "PuOr"
_MOST_WITH_NUMBERS, _MOST_WITH_NAMES = 12, 20
_LONGEST_NAME = 18
_BAR = 0.13  # inches


def transition_figure(summary: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Draws the last estimate of a transition matrix, the true one and their difference, and writes them as a PNG.

    Rows are true classes, columns given labels. Estimate and truth share one scale, from 0 or the lowest entry to the highest;
    the difference, estimate minus truth, has its own, symmetric around 0. Up to 12 classes the cells hold their numbers, up to
    20 the axes the names of the classes, else their places. The title gives the epoch and the error. Where the truth is not
    known the estimate stands alone. The file is whole or not there.

    Args:
        summary: of a finished run: `summary.json`, or `read_run(folder).summary`.
        path: ends in `.png`; the folder is made if missing, a file there is replaced.

    Returns:
        `path`.

    Raises:
        ValueError: the run has no estimate; another ending.
    """
    record = summary.get("transition")
    if not record:
        raise ValueError(
            f"this run of {summary.get('method', 'an unnamed method')} has no transition matrix in its summary: its method "
            "estimates none, or it ended before the first estimate; give the summary of a run that has one"
        )
    target = png_path(path)

    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    estimate = np.asarray(record["estimate"], dtype=np.float64)
    matrices = {"estimate": estimate}
    if record.get("truth") is not None:
        truth = np.asarray(record["truth"], dtype=np.float64)
        matrices |= {"truth": truth, "estimate - truth": estimate - truth}
    classes = len(estimate)
    names = _short([str(name) for name in summary.get("data", {}).get("class_names") or range(classes)])
    shares = list(matrices.values())[:2]
    scale = min(0.0, *(float(matrix.min()) for matrix in shares)), max(float(matrix.max()) for matrix in shares)
    with matplotlib.rc_context({**STYLE, "axes.spines.top": True, "axes.spines.right": True}):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, compress=True)
        figure = Figure(figsize=_size(len(matrices), names), dpi=150, layout=layout)
        axes = figure.subplots(1, len(matrices), squeeze=False)[0]
        for position, (axis, (title, matrix)) in enumerate(zip(axes, matrices.items(), strict=True)):
            difference = position == 2
            if difference:
                # no less than a tenth of the other scale: a small error is to look small
                span = max(float(np.abs(matrix).max()), (scale[1] - scale[0]) / 10)
                image = axis.imshow(matrix, cmap=_DIFFERENCES, vmin=-span, vmax=span, interpolation="nearest")
            else:
                image = axis.imshow(matrix, cmap=_SHARES, vmin=scale[0], vmax=scale[1], interpolation="nearest")
            axis.set_title(title, loc="left", fontsize=11)
            _label(axis, names, first=position == 0)
            if classes <= _MOST_WITH_NUMBERS:
                _numbers(axis, image, matrix, signed=difference)
            if difference or position + 1 == len(shares):  # estimate and truth have one bar
                bar = figure.colorbar(image, cax=axis.inset_axes((1.03, 0, _BAR / _side(classes), 1)))
                bar.ax.tick_params(labelsize=8.5)
                bar.set_label("difference of shares" if difference else "share of the true class")
        figure.suptitle(_title(summary, record), x=0.012, ha="left", fontsize=12, fontweight="bold")
        return save_png(figure, target)


def _side(classes: int) -> float:
    """Inches of a matrix with as many classes."""
    return max(0.44 * classes, 2.2) if classes <= _MOST_WITH_NUMBERS else 5.0


def _size(panels: int, names: Sequence[str]) -> tuple[float, float]:
    """Inches of the figure: the matrices, the names of the classes beside and below, bars, titles."""
    side, longest = _side(len(names)), 0.075 * max(map(len, names))
    bars = 0.95 * (1 if panels == 1 else 2)
    width = panels * (side + 0.12) + bars + longest + 0.45
    return max(width, 4.8), side + (longest if _turned(names) else 0.15) + 1.15


def _title(summary: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    error = record["metrics"].get("error")
    known = "true matrix not known" if error is None else f"error {error:.4f}"
    return f"{summary.get('method', 'Transition matrix')}, epoch {record['epoch']}: {known}"


def _short(names: Sequence[str]) -> list[str]:
    """What stands on the axes: the names, if they are few, else the places."""
    if len(names) > _MOST_WITH_NAMES:
        return [str(place) for place in range(len(names))]
    return [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names]


def _turned(names: Sequence[str]) -> bool:
    """Whether the names below are written upwards."""
    return len(names) <= _MOST_WITH_NAMES and max(map(len, names)) > 3


def _label(axis: Axes, names: Sequence[str], first: bool) -> None:
    steps = (1,) if len(names) <= _MOST_WITH_NAMES else (5, 10, 20, 50, 100, 200, 500, len(names))
    step = next(step for step in steps if len(names) <= _MOST_WITH_NAMES * step // 2 or step == steps[-1])
    places = range(0, len(names), step)
    axis.set_xlabel("given label")
    axis.tick_params(length=2, labelsize=8.5)
    axis.set_xticks(places, [names[place] for place in places], rotation=90 if _turned(names) else 0)
    axis.set_yticks(places, [names[place] for place in places] if first else [""] * len(places))
    if first:
        axis.set_ylabel("true class")


def _numbers(axis: Axes, image: AxesImage, matrix: NDArray[np.float64], signed: bool) -> None:
    colors = image.to_rgba(matrix)
    for (row, column), value in np.ndenumerate(matrix):
        rounded = round(float(value), 2)
        text = "0" if rounded == 0 else f"{rounded:+.2f}" if signed else f"{rounded:.2f}"
        light = float(np.dot(colors[row, column, :3], (0.299, 0.587, 0.114))) > 0.55
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color="black" if light else "white")
