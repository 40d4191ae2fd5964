"""Output files that a command was asked to write outside run folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from noisylab.cli.errors import UserError
from noisylab.cli.folder.marker import PREDICTIONS, read_marker

__all__ = ["check_not_read", "check_output", "free_name", "is_predictions", "prediction_header"]

_PREDICTED = ["given", "predicted", "probability"]


def prediction_header(key: str) -> list[str]:
    """The columns of predictions.

    Args:
        key: what each row is called by: "file", "id" or, by its number, "index".
    """
    return [key, *_PREDICTED]


def is_predictions(path: Path) -> bool:
    """Whether a file is a table written by ``noisylab predict``."""
    with path.open("rb") as file:
        first = file.readline(100).rstrip(b"\r\n")
    return first.decode(errors="replace").split(",") in [prediction_header(key) for key in ("file", "id", "index")]


def check_output(
    path: Path, flag: str, *, overwrite: bool = False, ours: Callable[[Path], bool] = lambda path: False, what: str = "output"
) -> None:
    """Refuse to overwrite anything the user may want to keep, before doing the work.

    Args:
        path: of the file.
        flag: the name of the value, for the error.
        overwrite: a plain file may be replaced that is empty, or of the kind that the command writes.
        ours: whether a file is of that kind.
        what: the kind, in the plural, for the error.

    Raises:
        UserError: for a file that is there, unless `overwrite` and `ours`; for a link, a folder, a device or a pipe in any case.
    """
    if not os.path.lexists(path):
        above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        if not above.is_dir():
            raise UserError(f"{flag} {path} would be in {above}, which is not a folder; name another file")
        return
    if path.is_symlink():
        raise UserError(f"{flag} {path} is a link, and nothing is written through links; name the file itself, or another one")
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no plain file (a device or a pipe)"
        raise UserError(f"{flag} {path} is {found}; name a new file")
    if not overwrite:
        raise UserError(f"{flag} {path} already exists\n  add --overwrite to replace it, or name a new file")
    if path.stat().st_size and not ours(path):
        raise UserError(
            f"{flag} {path} is not one of the {what} that noisylab writes, and only those are replaced; nothing was changed\n"
            "  name a new file, or delete this one yourself"
        )


def check_not_read(path: Path, flag: str, values: Iterable[str] = ()) -> None:
    """Refuse to replace a file of a run, or one that this command reads, even with --overwrite.

    Args:
        path: of the file.
        flag: the name of the value, for the error.
        values: texts that may be paths of what the command reads.

    Raises:
        UserError: naming what the file belongs to.
    """
    if not os.path.lexists(path):
        return
    real = Path(os.path.realpath(path))
    run = next((parent for parent in list(real.parents)[:3] if read_marker(parent) is not None), None)
    if run is not None and real != run / PREDICTIONS:
        raise UserError(f"{flag} {path} belongs to the run in {run} and is kept; name another file")
    for text in values:
        if not text or len(text) > 4096 or "\0" in text or not Path(text).exists():
            continue
        place = Path(text)
        within = place.is_dir() and real.suffix.lower() != ".csv" and real.is_relative_to(os.path.realpath(place))
        if within or (place.is_file() and place.samefile(real)):
            raise UserError(f"{flag} {path} belongs to {text}, which this command reads, and is kept; name another file")


def free_name(path: Path) -> Path:
    """`path`, or the first of name-2, name-3, ... that is not taken."""
    count, found = 1, path
    while os.path.lexists(found):
        count += 1
        found = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return found
