"""What all figures share: their look, and atomic writing of the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from noisylab.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STYLE", "is_figure", "png_path", "save_png"]

_SOFTWARE = "noisylab"  # in the PNG's text of that name, which tells our figures from other pictures

STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "hatch.linewidth": 0.7,
}
"""Settings of matplotlib for every figure, to be used in ``matplotlib.rc_context``."""


def png_path(path: str | os.PathLike[str]) -> Path:
    """The path, if it ends in ``.png``; else a ValueError."""
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(f"path={str(target)!r} does not end in .png, the one format written; rename it")
    return target


def save_png(figure: Figure, target: Path) -> Path:
    """Write the figure and return `target`; creates the folder if missing, and replaces an existing file."""
    with atomic_path(target) as partial:
        figure.savefig(partial, format="png", metadata={"Software": _SOFTWARE})
    return target


def is_figure(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a figure written by `save_png`."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, SyntaxError):  # the last for parts of a PNG that are broken
        return False
