"""The command study status: how far a study has come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from noisylab.cli.errors import UserError
from noisylab.cli.folder.lock import LOCK, abandoned
from noisylab.reports import StudyFolder, read_study, status_text
from noisylab.reports.studyfolder import cell_slug
from noisylab.terminal import visible

__all__ = ["living_study", "show_status"]


def show_status(folders: list[str]) -> int:
    """Print how far studies have come; returns the exit status.

    Args:
        folders: of studies.

    Raises:
        UserError: if none is given.
    """
    if not folders:
        raise UserError("noisylab study status needs the folder of a study: noisylab study status DIR")
    print("\n".join(visible(status_text(living_study(Path(folder)))) for folder in folders), end="")
    return 0


def living_study(folder: Path) -> StudyFolder:
    """A study in which only those cells are running whose process is still there; the others are stopped.

    Args:
        folder: of the study.
    """
    study = read_study(folder)
    gone = {cell.name for cell in study.cells if cell.state == "running" and _is_gone(folder, cell.name)}
    if gone:
        study = read_study(folder)  # some may have come to their end while the locks were looked at
    cells = [replace(cell, state="stopped") if cell.state == "running" and cell.name in gone else cell for cell in study.cells]
    return replace(study, cells=tuple(cells))


def _is_gone(folder: Path, name: str) -> bool:
    place = folder / ".cells" / cell_slug(name)
    return abandoned(place) or not (place / LOCK).exists()
