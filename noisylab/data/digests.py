"""Digests of inputs, to tell whether the pictures or arrays are still those that a model was trained on."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from noisylab.data.pictures import StoredPicture
from noisylab.data.rows import DenseRows, FileRows, MultiRows, RowStore, SparseRows
from noisylab.reading import regular

__all__ = ["content_digests", "digest_of", "rows_digest", "tensor_digest"]

_WHOLE = 2**30  # bytes of all files together up to which every byte is read
_END = 4096  # bytes that are read at either end of a file beyond that
_PIECE = 2**20  # bytes read at once
_SPOTS = 1000  # files of a published set whose size is looked at
_THREADS = 8  # the time goes into the file system


def content_digests(paths: Sequence[str]) -> list[bytes]:
    """(N) SHA-256 of the content of each file; a file that cannot be read has the digest of empty content.

    Times of change are not looked at: copying and unpacking set them anew, and renaming keeps them. Up to 1 GiB in all, every
    byte is read; of larger collections the size and 4 KiB at either end of each file, which tell compressed pictures apart.

    Args:
        paths: (N) files, or pictures that a table holds.
    """
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        sizes = list(pool.map(_size, paths))
        whole = sum(sizes) <= _WHOLE
        return list(pool.map(lambda path, size: _content(path, size, whole), paths, sizes))


def digest_of(parts: Sequence[bytes]) -> str:
    """One digest for a sequence of them, in their order."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def tensor_digest(*tensors: Tensor) -> str:
    """SHA-256 of the type, shape and values of some tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\0".encode())
        for piece in _pieces(tensor):
            digest.update(piece)
    return digest.hexdigest()


def rows_digest(rows: RowStore) -> str:
    """A digest of the inputs of a data set as it was read.

    Of rows in memory, every value counts. Of rows in files, which here belong to a published data set, the number of files and
    the size of up to 1,000 of them; collections of one's own have `content_digests`.
    """
    if isinstance(rows, DenseRows):
        return tensor_digest(rows.values)
    if isinstance(rows, SparseRows):
        return tensor_digest(rows.data, rows.indices, rows.indptr)
    if isinstance(rows, MultiRows):
        return digest_of([f"{name} {rows_digest(part)}".encode() for name, part in rows.views.items()])
    assert isinstance(rows, FileRows)
    spots = range(0, len(rows.paths), max(len(rows.paths) // _SPOTS, 1))
    sizes = [f"{Path(rows.paths[place]).name} {_size(rows.paths[place])} ".encode() for place in spots]
    return digest_of([f"{len(rows.paths)} ".encode(), *sizes])


def _size(path: str) -> int:
    if isinstance(path, StoredPicture):
        return len(path.content)
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _content(path: str, size: int, whole: bool) -> bytes:
    digest = hashlib.sha256(f"{size} ".encode())
    try:
        with io.BytesIO(path.content) if isinstance(path, StoredPicture) else regular(path).open("rb") as file:
            if whole or size <= 2 * _END:
                while piece := file.read(_PIECE):
                    digest.update(piece)
            else:
                digest.update(file.read(_END))
                file.seek(-_END, os.SEEK_END)
                digest.update(file.read(_END))
    except OSError:
        pass  # what cannot be read is refused, or left out, where the pictures are decoded
    return digest.digest()


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    """The bytes of a tensor, some rows at a time, so that no copy of all of it is needed."""
    rows = tensor.detach() if tensor.dim() else tensor.detach().reshape(1)
    step = max(16 * _PIECE * len(rows) // max(rows.nbytes, 1), 1)
    for start in range(0, len(rows) if rows.numel() else 0, step):
        yield rows[start : start + step].cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
