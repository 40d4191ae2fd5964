"""Corrections of labels: what they are, and the checks before they are written into a file of any format."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = ["Applied", "Fixes", "applied_of", "changes_of", "refuse", "refuse_existing"]

Fixes: TypeAlias = dict[str, tuple[str, str | None]]
"""New label and, where known, the label it replaces, by file or by row number as text."""

_SHOWN = 10  # rows at fault in a message


@dataclass(frozen=True)
class Applied:
    """A summary of a corrected label file.

    Args:
        changed: number of rows with another label than before.
        same: number of fixes whose row had the new label already.
        emptied: classes that no row is left of; training on the new file does not know them.
    """

    changed: int
    same: int
    emptied: tuple[str, ...] = ()


def refuse(faults: Sequence[str], what: str, advice: str) -> None:
    """Refuse to write if there are faults.

    Args:
        faults: a line each.
        what: is wrong with them, a clause that their number follows.
        advice: what to do.

    Raises:
        ValueError: listing up to ten of them.
    """
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise ValueError(
            "\n  ".join([f"{what} ({len(faults)}):", *faults[:_SHOWN], *more])
            + f"\n{advice[0].upper()}{advice[1:]}; nothing is written"
        )


def refuse_existing(out: str | Path, source: Path | None = None) -> None:
    """Refuse a file to write that is there already, above all `source`, the one that is read.

    Raises:
        FileExistsError: if it is.
    """
    out = Path(out)
    if source is not None and source.exists() and (out.resolve() == source.resolve() or (out.exists() and out.samefile(source))):
        raise FileExistsError(f"--out {out} is the input file {source}; labels are never overwritten, so name a new file")
    if os.path.lexists(out):
        raise FileExistsError(f"--out {out} already exists; name a new file, or remove this one")


def changes_of(fixes: Fixes, present: Mapping[str, str], classes: Sequence[str], where: str) -> tuple[dict[str, str], int]:
    """New labels by key where they differ from the present ones, and how many do not differ.

    Args:
        fixes: by key.
        present: the label of each row by its key, empty for a row without one.
        classes: labels that a row may have.
        where: the labels' name in messages.

    Raises:
        ValueError: listing up to ten fixes of rows that are not there, with labels that are no class, or made for other labels.
    """
    called = {unicodedata.normalize("NFC", key): key for key in present}  # a disk and a table may write one name in two forms
    fixes = {key if key in present else called.get(unicodedata.normalize("NFC", key), key): fix for key, fix in fixes.items()}
    refuse(
        [key for key in fixes if key not in present],
        f"accepted rows do not occur in {where}",
        "take the list that was made for these labels",
    )
    known = set(classes)
    refuse(
        [
            f"{key}: {label!r}, nearest {_nearest(label, classes)!r}" if classes else f"{key}: {label!r}"
            for key, (label, _) in fixes.items()
            if label not in known
        ],
        f"accepted labels are no class of {where}",
        "correct them",
    )
    refuse(
        [
            f"{key}: the fix replaces {given!r}, but the label is {present[key]!r}"
            for key, (label, given) in fixes.items()
            if given is not None and present[key] not in (given, label)
        ],
        f"accepted fixes were made for other labels than those of {where}",
        "take the list that was made for these labels; noise that a run adds itself cannot be corrected in a file",
    )
    changes = {key: label for key, (label, _) in fixes.items() if present[key] != label}
    return changes, len(fixes) - len(changes)


def _nearest(name: str, names: Sequence[str]) -> str:
    return max(names, key=lambda known: difflib.SequenceMatcher(None, name.lower(), known.lower()).ratio())


def applied_of(changes: Mapping[str, str], same: int, present: Mapping[str, str]) -> Applied:
    """The summary of what `changes_of` returns for the labels that there were."""
    left = set({**present, **changes}.values())
    return Applied(len(changes), same, tuple(sorted(set(present.values()) - left - {""})))
