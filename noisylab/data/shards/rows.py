"""Rows of a pack as the rest of noisylab reads rows: gathered in batches, or pictures opened one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.data.pictures import StoredPicture, UnreadableImage
from noisylab.data.sequences import TextSequence
from noisylab.data.shards.manifest import PackError
from noisylab.data.shards.reader import ShardReader
from noisylab.data.textcolumn import TextColumn
from noisylab.transforms.base import to_device

__all__ = ["PackedPictures", "ShardRows"]

_BLOCK = 2**24  # bytes of rows read at once


class ShardRows:
    """Rows of one shape, read from shards when they are asked for; a `TensorStore`.

    Args:
        reader: of the pack.
    """

    def __init__(self, reader: ShardReader) -> None:
        manifest = reader.files.manifest
        self.reader, self.size = reader, manifest.row_bytes
        self.shape: tuple[int, ...] = tuple(manifest.row["shape"])
        self.dtype: torch.dtype = getattr(torch, manifest.row["dtype"])
        self._on_device: Tensor | None = None

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.size

    @property
    def row_size(self) -> int:
        """Numbers in one row."""
        return self.size // self.dtype.itemsize

    def settle(self, device: torch.device) -> None:
        """Keep all rows on a GPU; on the host they stay in the files."""
        if device.type == "cpu":
            self._on_device = None
        elif self._on_device is None or self._on_device.device != device:
            rows = torch.empty((len(self), *self.shape), dtype=self.dtype, device=device)
            for block in torch.arange(len(self)).split(max(_BLOCK // self.size, 1)):
                rows[int(block[0]) : int(block[-1]) + 1] = self._read(block)
            self._on_device = rows

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index` (B,), given on the host.

        Raises:
            PackError: naming a shard that cannot be read.
        """
        if self._on_device is not None:
            return self._on_device.index_select(0, to_device(index, self._on_device.device))
        return self._read(index)

    def _read(self, index: Tensor) -> Tensor:
        rows = torch.from_numpy(self.reader.gather(index.numpy(), self.size))
        return rows.view(self.dtype).view(len(index), *self.shape)


class PackedPictures(TextSequence):
    """Pictures of a pack in place of paths: each is a name that brings the content of its file, see `StoredPicture`.

    Args:
        reader: of the pack.
        names: N.
    """

    def __init__(self, reader: ShardReader, names: TextColumn) -> None:
        self.reader, self.names = reader, names

    def __len__(self) -> int:
        return len(self.reader)

    def item(self, place: int) -> str:
        """The picture of a row.

        Raises:
            UnreadableImage: its shard cannot be read.
        """
        name = self.names[place]
        try:
            return StoredPicture(name, self.reader.content(place))
        except PackError as error:
            raise UnreadableImage(f"cannot read the image {name}: {error}") from error
