"""Notes about the data, shown as warnings in Python; the command line prints them once, in its account of the data."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["DataNote", "in_lines", "note"]

_SHOWN = 10  # lines of a list in a message


class DataNote(UserWarning):
    """A warning whose content also appears in `Source.account`."""


def note(text: str) -> None:
    """Warn about something that is, or will be, part of the account of the data."""
    rank_zero_warn(text, category=DataNote)


def in_lines(lines: Sequence[str]) -> str:
    """The first ten of some lines for the end of a message, each on a new line, and how many more there are."""
    more = [f"and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])
