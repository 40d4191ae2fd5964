"""The command compare: finished runs side by side."""

from __future__ import annotations

from pathlib import Path

from noisylab.cli.errors import UserError
from noisylab.cli.folder.outputs import check_not_read, check_output, free_name
from noisylab.reports import comparison_table, curves_figure, has_unlabeled, read_run, unlabeled_figure
from noisylab.reports.differences import difference_lines
from noisylab.reports.style import is_figure
from noisylab.terminal import visible

__all__ = ["compare"]


def compare(folders: list[str], figure: str | None = None, *, overwrite: bool = False) -> int:
    """Print one table of the runs, their paired differences where they can be paired, and draw their curves.

    Those that learned from unlabeled rows get a second figure of what they did with these, beside the first: with -unlabeled
    before its ending.

    Args:
        folders: run folders.
        figure: path of the PNG to write; None for curves.png, or curves-2.png and so on where that is taken.
        overwrite: figures of noisylab may be there already.
    """
    if not folders:
        raise UserError("noisylab compare needs run folders: noisylab compare runs/a/TIME runs/b/TIME [--out curves.png]")
    path = free_name(Path("curves.png")) if figure is None else Path(figure)
    if path.suffix.lower() != ".png":
        raise UserError(f"--out {path} does not end in .png, the one format that is written; name it {path.stem}.png")
    beside = path.with_name(f"{path.stem}-unlabeled.png")
    beside = free_name(beside) if figure is None else beside
    check_output(path, "--out", overwrite=overwrite, ours=is_figure, what="figures")
    check_not_read(path, "--out")
    runs = [read_run(folder) for folder in folders]
    learned = [run for run in runs if has_unlabeled(run)]
    if learned:
        check_output(beside, "--out", overwrite=overwrite, ours=is_figure, what="figures")
        check_not_read(beside, "--out")
    print(visible(comparison_table(runs)))
    differences = difference_lines(runs)
    if differences:
        print(visible("\n" + "\n".join(differences)))
    print(visible(f"\nfigure: {curves_figure(runs, path)}"))
    if learned:
        print(visible(f"figure: {unlabeled_figure(learned, beside)}"))
    return 0
