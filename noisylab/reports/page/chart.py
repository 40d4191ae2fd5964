"""Line charts and strips of dots as SVG, drawn to be read on screens and on paper.

Colors are the classes `c0` to `c7`, which the page's style defines for light and dark; dashes tell the lines apart without color.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noisylab.reports.spacing import spread

__all__ = ["Chart", "Line", "Style", "guide_swatch", "line_chart", "mark_style", "strip", "swatch"]

_COLORS = 8
_DASHES = ("", "7 3", "2 2.6", "9 3 2 3", "4 2", "12 3", "1.5 4", "6 2 1.5 2 1.5 2")
_CHARACTER = 7.3  # width of a bold character of the labels, rather too much than too little
_APART = 14.0  # distance of labels
_LONGEST = 24  # characters of a label
_STRIP = (190.0, 18.0)


class Style(NamedTuple):
    """How a line is drawn: number of its color, and lengths of dashes and gaps, "" for none."""

    color: int
    dashes: str = ""

    @property
    def attributes(self) -> str:
        """For an element of the SVG."""
        return f'class="line c{self.color}"' + (f' stroke-dasharray="{self.dashes}"' if self.dashes else "")


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart.

    Args:
        label: what it is; written at its end, and shown by browsers over the line.
        epochs: (E,) epochs trained, rising.
        mean: (E,) fractions, NaN for none.
        low, high: (E,) the lowest and highest of several runs; None for one run.
        style: its color and dashes.
    """

    label: str
    epochs: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None
    style: Style

    @property
    def at_end(self) -> str:
        """The last value in percent."""
        known = self.mean[np.isfinite(self.mean)]
        return f"{100 * known[-1]:.1f}" if len(known) else "none"


def mark_style(mark: int) -> Style:
    """The style of a mark; from the ninth on colors come again, with other dashes."""
    return Style(mark % _COLORS, _DASHES[(mark + mark // _COLORS) % len(_DASHES)])


def swatch(style: Style) -> str:
    """A short piece of a line, for legends and tables; it says nothing to those who do not see it."""
    return (
        '<svg class="swatch" viewBox="0 0 26 8" width="26" height="8" aria-hidden="true">'
        f'<path {style.attributes} d="M1 4H25"/></svg>'
    )


def guide_swatch() -> str:
    """The same for the upright line of a chart."""
    return (
        '<svg class="swatch" viewBox="0 0 26 8" width="26" height="8" aria-hidden="true"><path class="guide" d="M13 0V8"/></svg>'
    )


class _Plane(NamedTuple):
    """Where the values lie: pixels of the left, right, bottom and top ends, and what they stand for."""

    left: float
    right: float
    bottom: float
    top: float
    longest: int
    low: float
    high: float

    def x(self, epoch: float) -> float:
        return self.left + (self.right - self.left) * epoch / self.longest

    def y(self, value: float) -> float:
        return self.bottom + (self.top - self.bottom) * (value - self.low) / (self.high - self.low)

    def at(self, epoch: float, value: float) -> str:
        return f"{self.x(epoch):.1f} {self.y(value):.1f}"


@dataclass(frozen=True, eq=False)
class Chart:
    """What a chart shows, in percent over the epochs trained.

    Args:
        title: what it is.
        lines: at least one.
        width, height: in pixels of the drawing; the page scales it.
        low, high: fractions at the ends of the vertical axis.
        last_epoch: at the right end of the other axis, at least; the longest line may be longer.
        labels: whether names stand at the ends of the lines, or values alone.
        guide: an upright line at an epoch, with its name.
    """

    title: str
    lines: Sequence[Line]
    width: float = 540
    height: float = 300
    low: float = 0.0
    high: float = 1.0
    last_epoch: int = 1
    labels: bool = True
    guide: tuple[float, str] | None = None


def line_chart(chart: Chart) -> str:
    """A chart as an SVG element, with a title and a description for those who do not see it."""
    lines = chart.lines
    texts = [f"{_short(line.label)} {line.at_end}" if chart.labels else line.at_end for line in lines]
    right = max(map(len, texts)) * _CHARACTER + 14
    height = max(chart.height, len(lines) * _APART + 60)
    longest = max(chart.last_epoch, *(int(line.epochs[-1]) for line in lines))
    plane = _Plane(38.0, chart.width - right, height - 38.0, 12.0, longest, chart.low, chart.high)
    described = "; ".join(f"{line.label} {line.at_end}" for line in lines)
    cut = f'width="{chart.width:.0f}" height="{plane.bottom + 1:.1f}" overflow="hidden"'  # no line goes below the axis
    parts = [
        f"<title>{escape(chart.title)}, in percent over the epochs</title>",
        f"<desc>At the end, in percent: {escape(described)}.</desc>",
        *_axes(plane),
        *_guide(plane, chart.guide),
        f'<svg x="0" y="0" {cut}>',
        *(_band(plane, line) for line in lines),
        *(_path(plane, line) for line in lines),
        "</svg>",
        *_labels(plane, lines, texts),
    ]
    return f'<svg class="chart" viewBox="0 0 {chart.width:.0f} {height:.0f}" role="img">{"".join(parts)}</svg>'


def strip(values: Sequence[float], low: float, high: float, color: int, title: str, *, zero: bool = False) -> str:
    """Dots for single values and a bar for their mean on a scale that a column of a table has in common.

    Args:
        values: fractions, at least one.
        low, high: at the ends of the scale.
        color: number of the color.
        title: for those who do not see it.
        zero: whether the middle of the scale is marked.
    """
    width, height = _STRIP
    span = max(high - low, 1e-9)
    places = [6 + (width - 12) * (value - low) / span for value in values]
    mean = sum(places) / len(places)
    dots = "".join(f'<circle class="dot c{color}" cx="{place:.1f}" cy="9" r="3.2"/>' for place in places)
    middle = f'<path class="zero" d="M{width / 2:.1f} 1V17"/>' if zero else ""
    bar = f'<path class="mean c{color}" d="M{mean:.1f} 2V16"/>' if len(places) > 1 else ""
    return (
        f'<svg class="strip" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img">'
        f'<title>{escape(title)}</title><path class="grid" d="M2 9H{width - 2:.0f}"/>{middle}{dots}{bar}</svg>'
    )


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _axes(plane: _Plane) -> list[str]:
    parts = []
    for value in _ticks(100 * plane.low, 100 * plane.high, 5):
        y, kind = plane.y(value / 100), "axis" if value <= 100 * plane.low else "grid"
        parts.append(f'<path class="{kind}" d="M{plane.left:.1f} {y:.1f}H{plane.right:.1f}"/>')
        parts.append(f'<text x="{plane.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(0, plane.longest, max(int((plane.right - plane.left) / 70), 2), whole=True):
        x = plane.x(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {plane.bottom:.1f}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{plane.bottom + 17:.1f}" text-anchor="middle">{value:g}</text>')
    middle = (plane.left + plane.right) / 2
    parts.append(f'<text x="{middle:.1f}" y="{plane.bottom + 33:.1f}" text-anchor="middle">epochs trained</text>')
    return parts


def _ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Round numbers from low to high, at most about as many as asked for.

    Example:
        >>> _ticks(60, 100, 5), _ticks(0, 40, 4, whole=True)
        ([60.0, 70.0, 80.0, 90.0, 100.0], [0.0, 10.0, 20.0, 30.0, 40.0])
    """
    rough = max((high - low) / most, 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * number, 9) for number in range(first, last + 1)]


def _guide(plane: _Plane, guide: tuple[float, str] | None) -> list[str]:
    if guide is None or not 0 < guide[0] <= plane.longest:
        return []
    path = f"M{plane.x(guide[0]):.1f} {plane.bottom:.1f}V{plane.top:.1f}"
    return [f'<path class="guide" d="{path}"><title>{escape(guide[1])}</title></path>']


def _stretches(values: NDArray[np.float64]) -> list[list[int]]:
    """The places of finite values, in stretches without a gap."""
    places = np.flatnonzero(np.isfinite(values))
    return [part.tolist() for part in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(part)]


def _band(plane: _Plane, line: Line) -> str:
    low, high = line.low, line.high
    if low is None or high is None:
        return ""
    paths = []
    for part in _stretches(line.mean):
        there = [plane.at(line.epochs[k], high[k]) for k in part]
        back = [plane.at(line.epochs[k], low[k]) for k in reversed(part)]
        paths.append(f"M{'L'.join(there + back)}Z")
    return f'<path class="band c{line.style.color}" d="{"".join(paths)}"/>' if paths else ""


def _path(plane: _Plane, line: Line) -> str:
    parts = [[plane.at(line.epochs[k], line.mean[k]) for k in part] for part in _stretches(line.mean)]
    points = "".join(f"M{'L'.join(part)}" for part in parts if len(part) > 1)
    alone = [part[0].split() for part in parts if len(part) == 1]  # a line of one point cannot be seen
    dots = "".join(f'<circle class="dot c{line.style.color}" cx="{x}" cy="{y}" r="3"/>' for x, y in alone)
    hint = f"<title>{escape(line.label)}: {line.at_end} % at the end</title>"
    return (f'<path {line.style.attributes} d="{points}">{hint}</path>' if points else "") + dots


def _labels(plane: _Plane, lines: Sequence[Line], texts: Sequence[str]) -> list[str]:
    ends = []
    for line, text in zip(lines, texts, strict=True):
        known = np.flatnonzero(np.isfinite(line.mean))
        if len(known):
            ends.append((float(line.mean[known[-1]]), text, line.style))
    places = spread([plane.y(value) for value, _, _ in ends], _APART, plane.top + 2, plane.bottom - 2)
    return [
        f'<text class="label c{style.color}" x="{plane.right + 8:.1f}" y="{place + 4:.1f}">{escape(text)}</text>'
        for (_, text, style), place in zip(ends, places, strict=True)
    ]
