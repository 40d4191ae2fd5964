"""What is said of data while they are read, to whoever reads them in Python; the command line says it once, in the account."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["DataNote", "note"]


class DataNote(UserWarning):
    """A warning whose content is in `Source.account`, too."""


def note(text: str) -> None:
    """Warn of something that is, or will be, part of the account of the data."""
    rank_zero_warn(text, category=DataNote)
