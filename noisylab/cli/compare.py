"""Finished runs side by side."""

from __future__ import annotations

from noisylab.cli.errors import UserError
from noisylab.reports import comparison_table, curves_figure, read_run
from noisylab.terminal import visible

__all__ = ["compare"]


def compare(folders: list[str], figure: str) -> int:
    """Print one table of the runs and draw their curves.

    Args:
        folders: run folders.
        figure: path of the PNG to write.
    """
    if not folders:
        raise UserError("noisylab compare needs run folders: noisylab compare runs/a/TIME runs/b/TIME [--out curves.png]")
    runs = [read_run(folder) for folder in folders]
    print(visible(comparison_table(runs)))
    print(visible(f"\nfigure: {curves_figure(runs, figure)}"))
    return 0
