"""Square matrices of classes as heat maps: transitions, estimated and true."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noisylab.reports.page.blocks import Cell, Column, Figure, Table
from noisylab.reports.page.words import percents

__all__ = ["matrix"]

_MOST_CELLS = 20  # classes up to which a cell holds its number
_SIDE = 320  # pixels of a larger matrix
_BLUE, _ORANGE = (11, 92, 173), (176, 96, 0)
_STEP = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def matrix(values: Sequence[Sequence[float]], names: Sequence[str], title: str, *, signed: bool = False) -> Table | Figure:
    """A heat map in percent; rows are true classes, columns given labels.

    Up to 20 classes it is a table with the numbers; above, a picture without.

    Args:
        values: (K, K) shares, or their differences; (M, K) where there are true classes that no label names.
        names: of the K classes.
        title: what the matrix is.
        signed: whether the values are differences, of which negative ones have another hue.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) > _MOST_CELLS:
        return _picture(array, title, signed=signed)
    down = names if len(names) == len(array) else [str(place) for place in range(len(array))]  # more true classes than given ones
    across = names if len(names) == array.shape[1] else [str(place) for place in range(array.shape[1])]
    columns = [Column("true, down; given, across"), *(Column(name, number=True) for name in across)]
    rows = [[Cell(name), *(_cell(float(value), signed=signed) for value in row)] for name, row in zip(down, array, strict=True)]
    return Table(columns, [("", rows)], title, "heat")


def _cell(value: float, *, signed: bool) -> Cell:
    if not math.isfinite(value):
        return Cell("?")
    rounded = round(100 * value)
    if not signed and 0 < value < 0.005:
        return Cell("<1", depth=_depth(value))
    return Cell(percents(rounded / 100, 0, signed=signed) if rounded else "0", depth=_depth(value))


def _depth(value: float) -> float:
    """How strong the color is: the square root, so that a few percent can be seen."""
    return math.copysign(math.sqrt(min(abs(value), 1.0)), value)


def _picture(array: NDArray[np.float64], title: str, *, signed: bool) -> Figure:
    """The matrix as a transparent picture in an SVG with its axes, on whatever the page's background is."""
    depth = np.sqrt(np.clip(np.abs(np.nan_to_num(array)), 0, 1))
    pixels = np.empty((*array.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((array < 0)[..., None], _ORANGE, _BLUE)
    pixels[..., 3] = np.round(255 * depth)
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    classes, left, top = len(array), 44, 8
    step = next((each for each in _STEP if classes / each <= 10), classes)
    parts = [f'<image class="pixels" x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}" href="data:image/png;base64,{data}"/>']
    parts.append(f'<rect class="frame" x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}"/>')
    for place in range(0, classes, step):
        middle = (place + 0.5) * _SIDE / classes
        parts.append(f'<text x="{left + middle:.1f}" y="{top + _SIDE + 16}" text-anchor="middle">{place}</text>')
        parts.append(f'<text x="{left - 6}" y="{top + middle + 4:.1f}" text-anchor="end">{place}</text>')
    parts.append(f'<text x="{left + _SIDE / 2}" y="{top + _SIDE + 33}" text-anchor="middle">given label</text>')
    parts.append(f'<text transform="translate(12 {top + _SIDE / 2}) rotate(-90)" text-anchor="middle">true class</text>')
    diagonal = float(np.nanmean(np.diag(array)))
    about = f"mean of the diagonal {percents(diagonal, signed=signed)} percent"
    svg = (
        f'<svg class="chart matrix" viewBox="0 0 {left + _SIDE + 12} {top + _SIDE + 42}" role="img">'
        f"<title>{escape(title)}</title><desc>{classes} by {classes} classes; {about}.</desc>{''.join(parts)}</svg>"
    )
    return Figure(svg, f"{classes} classes by their number; {about}. The stronger, the larger.", title)
