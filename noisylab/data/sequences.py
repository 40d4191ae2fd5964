"""Sequences of texts whose items are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

__all__ = ["TextSequence"]


class TextSequence(Sequence[str]):
    """Texts that a subclass finds by their place; slices and places from the end are as those of a list."""

    @abstractmethod
    def item(self, place: int) -> str:
        """The text at a place in 0..N-1."""

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self.item(place) for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.item(place)
