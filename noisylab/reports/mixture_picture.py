"""The figure of the mixtures that a method fitted to its losses, epoch by epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noisylab.reports.style import STYLE, png_path, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["mixture_figure"]

# Blue and vermilion of Okabe and Ito (2008); hatches and outlines tell the groups apart in gray.
_GROUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "right": ("right labels", {"facecolor": "#0072B266", "edgecolor": "none", "linewidth": 0.0}),
    "wrong": ("wrong labels", {"facecolor": "none", "edgecolor": "#D55E00", "linewidth": 1.0, "hatch": "//////"}),
    "unknown": ("all labels, truth unknown", {"facecolor": "#BBBBBB", "edgecolor": "none", "linewidth": 0.0}),
}
_COMPONENTS = (("low-loss component", "-"), ("high-loss component", (0, (5, 1.8))))
_THRESHOLD = "posterior 0.5"
_PANEL = (2.9, 2.5)  # inches
_MOST_PANELS, _MOST_IN_A_ROW = 8, 4


def mixture_figure(summary: Mapping[str, Any], path: str | os.PathLike[str], network: str | None = None) -> Path:
    """Draws the losses of right and wrong labels and the mixture fitted to them, one panel per epoch, and writes them as a PNG.

    At most eight epochs: the first, the last and evenly spaced ones between. In each panel the two histograms are on one scale:
    together they have area 1, as the two components have, which are drawn with their weights and averaged over a bin's width at
    each place: a component narrower than a bin is as high as its bin. One without weight is left out. Panels have y axes of their
    own. Thin lines mark where a loss is as likely of one component as of the other. The file is whole or not there.

    Args:
        summary: of a finished run: `summary.json`, or `read_run(folder).summary`.
        path: ends in `.png`; the folder is made if missing, a file there is replaced.
        network: whose mixtures; None takes the first.

    Returns:
        `path`.

    Raises:
        ValueError: the run has no mixture, or none of that network; another ending.
    """
    fits = summary.get("mixture")
    if not isinstance(fits, Mapping) or not any(fits.values()):
        raise ValueError(
            f"this run of {summary.get('method', 'an unnamed method')} has no mixture in its summary: its method fits none, or "
            "it ended before the first fit; give the summary of a run that has one"
        )
    network = next(name for name in fits if fits[name]) if network is None else network
    if not fits.get(network):
        raise ValueError(
            f"network={network!r} has no mixture in this run; those that have: {', '.join(n for n in fits if fits[n])}"
        )
    target = png_path(path)

    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    records = _spaced(fits[network], _MOST_PANELS)
    columns = len(records) if len(records) <= _MOST_IN_A_ROW else math.ceil(len(records) / 2)
    rows = math.ceil(len(records) / columns)
    with matplotlib.rc_context(STYLE):
        size = (max(_PANEL[0] * columns, 5.6) + 0.5, _PANEL[1] * rows + (1.0 if columns > 2 else 1.3))
        figure = Figure(figsize=size, dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
        handles: dict[str, Any] = {}
        for position, (axis, record) in enumerate(zip(axes, records, strict=False)):
            handles |= _panel(axis, record)
            axis.set_title(f"epoch {record['epoch']}", loc="left", fontsize=11)
            if position + columns >= len(records):
                axis.set_xlabel("normalized loss")
                axis.tick_params(labelbottom=True)
            if position % columns == 0:
                axis.set_ylabel("density")
        for axis in axes[len(records) :]:
            axis.set_axis_off()
        figure.align_ylabels()
        several = f", network {network}" if len(fits) > 1 else ""
        figure.suptitle(f"{summary.get('method', 'Mixture')}{several}", x=0.012, ha="left", fontsize=12, fontweight="bold")
        order = [*(label for label, _ in _GROUPS.values()), *(label for label, _ in _COMPONENTS), _THRESHOLD]
        shown = [label for label in order if label in handles]
        figure.legend(
            [handles[label] for label in shown],
            shown,
            loc="outside lower center",
            ncols=len(shown) if columns > 2 else 3,
            fontsize=9.5,
            frameon=False,
            handlelength=2.4,
        )
        return save_png(figure, target)


def _panel(axis: Axes, record: Mapping[str, Any]) -> dict[str, Any]:
    """Draws one epoch; returns what to put in the legend, by label."""
    handles: dict[str, Any] = {}
    counts = {name: np.asarray(values, dtype=np.float64) for name, values in record["histogram"].items()}
    bins = len(next(iter(counts.values())))
    edges = np.linspace(0.0, 1.0, bins + 1)
    total = sum(float(values.sum()) for values in counts.values())
    top = 0.0
    for name, values in counts.items():
        density = values * bins / max(total, 1.0)
        label, look = _GROUPS[name]
        handles[label] = axis.stairs(density, edges, fill=True, zorder=2, **look)
        top = max(top, float(density.max()))
    means, variances, weights = (record[name] for name in ("means", "variances", "weights"))
    places = np.linspace(0.0, 1.0, 16 * bins + 1)
    for (label, style), mean, variance, weight in zip(_COMPONENTS, means, variances, weights, strict=True):
        if weight == 0:
            continue
        density = weight * _averaged_gaussian(places, mean, variance, width=1 / bins)
        (handles[label],) = axis.plot(places, density, color="black", linestyle=style, linewidth=1.3, zorder=3)
        top = max(top, float(density.max()))
    for place in _equal_posterior(means, variances, weights):
        handles[_THRESHOLD] = axis.axvline(place, color="#555555", linewidth=0.9, linestyle=":", zorder=2.5)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.05 * top)
    axis.set_axisbelow(True)
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.7)
    return handles


def _spaced(records: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The first, the last and evenly spaced ones between."""
    if len(records) <= most:
        return list(records)
    return [records[round(place * (len(records) - 1) / (most - 1))] for place in range(most)]


def _averaged_gaussian(places: NDArray[np.float64], mean: float, variance: float, width: float) -> NDArray[np.float64]:
    """The density of a Gaussian, averaged over an interval of `width` around each place."""
    scale = math.sqrt(2 * variance)
    ends = ((math.erf((place + side * width / 2 - mean) / scale) for side in (-1, 1)) for place in places.tolist())
    return np.array([(above - below) / (2 * width) for below, above in ends])


def _equal_posterior(means: Sequence[float], variances: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Where in [0, 1] both components are equally likely: none, one or two places.

    With log(w_i N(x; m_i, v_i)) = c_i + m_i x / v_i - x^2 / (2 v_i), the roots of the difference.

    Example:
        >>> [round(place, 6) for place in _equal_posterior((0.2, 0.6), (0.01, 0.01), (0.5, 0.5))]
        [0.4]
    """
    if min(weights) <= 0:
        return []
    low, high = (
        np.array([-0.5 / v, m / v, math.log(w) - 0.5 * math.log(v) - 0.5 * m * m / v])
        for m, v, w in zip(means, variances, weights, strict=True)
    )
    difference = low - high
    if not difference[:2].any():
        return []  # one component twice
    roots = np.roots(difference)
    return sorted(float(root.real) for root in roots if abs(root.imag) < 1e-12 and 0 <= root.real <= 1)
