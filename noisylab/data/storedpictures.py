"""Many pictures that a table holds itself, as one block of bytes that worker processes share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from noisylab.data.pictures import StoredPicture
from noisylab.data.sequences import TextSequence
from noisylab.data.textcolumn import TextColumn

__all__ = ["StoredPictures"]


class StoredPictures(TextSequence):
    """N pictures, read one by one: a `StoredPicture` each, or a path where a table names a file instead.

    Tensors, which processes that are forked share and spawned ones get by shared memory; a list of bytes would be copied by each.

    Args:
        names: (N) names of the pictures, or paths.
        content: all files one after the other, uint8.
        ends: (N,) int64, where each ends; a picture without content is a path.
    """

    def __init__(self, names: TextColumn, content: torch.Tensor, ends: torch.Tensor) -> None:
        self.names, self.content, self.ends = names, content, ends

    @classmethod
    def of(cls, pictures: Sequence[str]) -> StoredPictures:
        """The pictures of a list.

        Args:
            pictures: (N) paths, and `StoredPicture`s with content.
        """
        contents = [picture.content if isinstance(picture, StoredPicture) else b"" for picture in pictures]
        content = torch.from_numpy(np.frombuffer(bytearray().join(contents) or bytearray(1), dtype=np.uint8))
        ends = torch.tensor([len(one) for one in contents], dtype=torch.int64).cumsum(0)
        return cls(TextColumn.of([str(picture) for picture in pictures]), content, ends)

    def __len__(self) -> int:
        return len(self.names)

    def item(self, place: int) -> str:
        """The picture of a row."""
        name = self.names[place]
        start, end = int(self.ends[place - 1]) if place else 0, int(self.ends[place])
        return StoredPicture(name, self.content[start:end].numpy().tobytes()) if end > start else name
