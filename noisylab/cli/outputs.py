"""Files that a command was asked to write, beside run folders."""

from __future__ import annotations

import os
from pathlib import Path

from noisylab.cli.errors import UserError

__all__ = ["check_output", "free_name"]


def check_output(path: Path, flag: str, *, overwrite: bool = False) -> None:
    """Refuse to write where anything is that the user may want to keep, before the work that the file is to hold.

    Args:
        path: of the file.
        flag: the name of the value, for the error.
        overwrite: a plain file may be replaced.

    Raises:
        UserError: for a file that is there, unless `overwrite`; for a link, a folder, a device or a pipe in any case.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink():
        raise UserError(f"{flag} {path} is a link, through which nothing is written; name the file that is meant, or another")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no plain file (a device or a pipe)"
        raise UserError(f"{flag} {path} is {what}; name a new file")
    if not overwrite:
        raise UserError(f"{flag} {path} is there already\n  add --overwrite to replace it, or name a new file")


def free_name(path: Path) -> Path:
    """`path`, or the first of name-2, name-3, ... that is not taken."""
    count, found = 1, path
    while os.path.lexists(found):
        count += 1
        found = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return found
