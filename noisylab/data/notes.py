"""Notes about the data, shown as warnings in Python; the command line prints them once, in its account of the data."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["DataNote", "note"]


class DataNote(UserWarning):
    """A warning whose content also appears in `Source.account`."""


def note(text: str) -> None:
    """Warn about something that is, or will be, part of the account of the data."""
    rank_zero_warn(text, category=DataNote)
