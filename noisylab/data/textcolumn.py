"""Many texts, such as file names, as one block of bytes: workers share it, where a list of strings would be copied by each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisylab.data.sequences import TextSequence
from noisylab.files import atomic_path

__all__ = ["TextColumn"]

_SMALL = 2**31  # bytes up to which places take 32 bits
_PIECE = 65536  # texts joined at once
_CONTENT, _ENDS = ".text.npy", ".ends.npy"


class TextColumn(TextSequence):
    """N texts that do not change, read one by one.

    A list of strings costs a Python object for each and, by the counts of references in them, is copied little by little into
    every worker process. This is one block of bytes and the place where each text ends: tensors, which processes that are forked
    or spawned share, or files, which they map.

    Args:
        content: (M,) uint8, the texts one after the other.
        ends: (N,) int32 or int64, where each ends.
        prefix: what every text begins with; it is kept once.

    Example:
        >>> names = TextColumn.of(["a.png", "b/c.png"], prefix="images/")
        >>> len(names), names[1], list(names)
        (2, 'images/b/c.png', ['images/a.png', 'images/b/c.png'])
    """

    def __init__(self, content: Tensor, ends: Tensor, prefix: str = "") -> None:
        self._tensors: tuple[Tensor, Tensor] | None = (content, ends)
        self._file: str | None = None
        self._content, self._ends = content.numpy(), ends.numpy()
        self.prefix = prefix

    @classmethod
    def of(cls, texts: Iterable[str], prefix: str = "") -> TextColumn:
        """The column of some texts, which are read once, in order.

        Args:
            texts: N texts; file names that are no UTF-8 are kept as they are.
            prefix: put before each of them.
        """
        joined = bytearray()
        lengths: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        for block in _blocks(texts):
            encoded = [text.encode("utf-8", "surrogateescape") for text in block]
            lengths.append(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
            joined += b"".join(encoded)
        ends = np.cumsum(np.concatenate(lengths)) if lengths else np.zeros(0, dtype=np.int64)
        content = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0, dtype=torch.uint8)
        return cls(content, torch.from_numpy(ends.astype(np.int32 if len(joined) < _SMALL else np.int64)), prefix)

    @classmethod
    def open(cls, path: str | Path, prefix: str = "") -> TextColumn:
        """The column that `save` wrote, mapped into memory.

        Args:
            path: as for `save`.
            prefix: put before each text.
        """
        column = cls.__new__(cls)
        column.__setstate__({"file": str(path), "prefix": prefix})
        return column

    def save(self, path: str | Path) -> list[Path]:
        """Write the texts, without their prefix, to two files beside each other.

        Args:
            path: they are called this with an ending of their own.

        Returns:
            The files.
        """
        written = []
        for end, values in ((_CONTENT, self._content), (_ENDS, self._ends)):
            target = Path(f"{path}{end}")
            with atomic_path(target) as partial, partial.open("wb") as file:
                np.save(file, values)
            written.append(target)
        return written

    @property
    def nbytes(self) -> int:
        """Bytes of all texts and their ends."""
        return int(self._content.nbytes + self._ends.nbytes)

    def __len__(self) -> int:
        return len(self._ends)

    def item(self, place: int) -> str:
        """The text at a place."""
        start = int(self._ends[place - 1]) if place else 0
        return self.prefix + self._content[start : int(self._ends[place])].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _PIECE):
            ends = self._ends[start : start + _PIECE].tolist()
            first = int(self._ends[start - 1]) if start else 0
            block = self._content[first : ends[-1]].tobytes()
            begins = [first, *ends[:-1]]
            for begin, end in zip(begins, ends, strict=True):
                yield self.prefix + block[begin - first : end - first].decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(other) == len(self) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return f"TextColumn of {len(self)} texts"

    def __getstate__(self) -> dict[str, Any]:
        # a process that is spawned gets the tensors by shared memory, or maps the files itself
        return {"file": self._file, "tensors": self._tensors, "prefix": self.prefix}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._file, self._tensors, self.prefix = state["file"], state.get("tensors"), state["prefix"]
        if self._file is None:
            assert self._tensors is not None
            self._content, self._ends = (tensor.numpy() for tensor in self._tensors)
        else:
            self._content, self._ends = (_mapped(f"{self._file}{end}") for end in (_CONTENT, _ENDS))


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for text in texts:
        block.append(text)
        if len(block) == _PIECE:
            yield block
            block = []
    if block:
        yield block


def _mapped(path: str) -> np.ndarray[Any, Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(array)  # plain arrays are read faster, row by row, than those of the class of maps
