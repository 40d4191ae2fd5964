"""Rows of a pack by their number, from shards that are mapped into memory while they are read."""

from __future__ import annotations

import sys
from collections import OrderedDict
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from noisylab.data.shards.manifest import PackError
from noisylab.data.shards.store import PackFiles

__all__ = ["ShardReader"]

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Whole: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_LENGTH = 4  # bytes of a length before each row, and of each number in a shard's head


class ShardReader:
    """Random access to the rows of a pack.

    Shards are in litdata's format: the number of rows, the place where each begins and the end of the last, as uint32, then the
    rows, each after its length. litdata itself reads one row in about 400 us when rows are asked for in random order, since it
    opens and closes a shard each time; this keeps `keep` of them mapped. Nothing is copied but the rows asked for, and workers
    share what the system holds of the files.

    Args:
        files: of the pack.
        keep: shards that stay mapped, at least 1. More than there are in a window of the order are of no use.
    """

    def __init__(self, files: PackFiles, keep: int = 32) -> None:
        self.files, self.keep = files, max(keep, 1)
        shards = files.manifest.shards
        self.starts: Whole = np.concatenate([[0], np.cumsum([shard.rows for shard in shards])]).astype(np.int64)
        self._maps: OrderedDict[int, Bytes] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}  # another process maps them itself

    def content(self, row: int) -> bytes:
        """The bytes of a row.

        Raises:
            PackError: for a shard that cannot be read.
        """
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        shard, place = self._shard(number), row - int(self.starts[number])
        begin, end = shard[_LENGTH * (1 + place) : _LENGTH * (3 + place)].view(np.uint32).tolist()
        return shard[begin + _LENGTH : end].tobytes()

    def gather(self, index: Whole, size: int) -> Bytes:
        """(B, size) rows `index` (B,), all of which have `size` bytes.

        Raises:
            PackError: for a shard that cannot be read.
        """
        result = np.empty((len(index), size), dtype=np.uint8)
        order = np.argsort(index, kind="stable")  # each shard once, from front to back
        ordered = index[order]
        numbers = np.searchsorted(self.starts, ordered, side="right") - 1
        for number, first, last in _runs(numbers):
            count = int(self.starts[number + 1] - self.starts[number])
            rows = self._shard(number)[_LENGTH * (2 + count) :].reshape(count, _LENGTH + size)
            result[order[first:last]] = rows[ordered[first:last] - self.starts[number], _LENGTH:]
        return result

    def _shard(self, number: int) -> Bytes:
        if number in self._maps:
            self._maps.move_to_end(number)
            return self._maps[number]
        part = self.files.manifest.shards[number]
        try:
            shard: Bytes = np.asarray(np.memmap(self.files.path(part), dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            if isinstance(error, PackError):
                raise
            raise PackError(f"{part.file} of the pack {self.files.place} cannot be read: {error}; copy it again") from error
        ends = (0, 1 + part.rows)  # places of the number of rows and of the end of the last
        head = [int.from_bytes(shard[_LENGTH * place :][:_LENGTH].tobytes(), sys.byteorder) for place in ends]
        if len(shard) != part.size or head != [part.rows, part.size]:
            raise PackError(f"{part.file} of the pack {self.files.place} is damaged, or of another pack; copy it again")
        self._maps[number] = shard
        if len(self._maps) > self.keep:
            self._maps.popitem(last=False)
        return shard


def _runs(numbers: Whole) -> list[tuple[int, int, int]]:
    """(number, first place, place after the last) of each run of equal numbers."""
    if not len(numbers):
        return []
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    ends = [0, *cuts.tolist(), len(numbers)]
    return [(int(numbers[first]), first, last) for first, last in pairwise(ends)]
