"""Writes a pack: rows into shards of litdata's format, labels into columns, and at the end a manifest."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.data.identity import depth_numbers
from noisylab.data.rows import DenseRows, FileRows
from noisylab.data.shards.manifest import Manifest, PackError, Shard, file_digest
from noisylab.data.source import Source
from noisylab.data.textcolumn import TextColumn
from noisylab.files import clear_partials, move, partial_name
from noisylab.transforms.draws import key_from

__all__ = ["SHARD_BYTES", "pack_arrays", "pack_source"]

SHARD_BYTES = 2**26
_ROWS = 1024  # pictures read ahead, and array rows taken at once
_THREADS = 8  # that read pictures
_STALE = 600.0  # seconds after which a folder of a pack that nobody writes to any more is cleared away
_TYPES = {np.dtype(np.uint8): "uint8", np.dtype(np.float32): "float32"}
_PIECE = 2**22  # bytes of array rows looked at at once
_NUMBER = 4  # bytes of a number in a shard: of its rows, of the place of each and of the length of each
_NO_LITDATA = "shards are written with litdata, which is not installed; install noisylab[shards]"
_LARGEST = 2**31  # bytes of a shard


def pack_source(source: Source, out: str | Path, *, shard_bytes: int = SHARD_BYTES, shuffle_seed: int | None = 0) -> Path:
    """Pack a data set as it was read: pictures as the files they are, rows in memory as arrays of one shape.

    Test rows, if there are any, become a pack of their own in the folder ``test``.

    Args:
        source: with pictures in files, or with one dense input of each row.
        out: folder of the pack, which must not be there yet; it appears when all is written.
        shard_bytes: see `pack_arrays`.
        shuffle_seed: names the random order in which the training rows are packed; `None` keeps the order of `source`. A run
            mixes the rows of a few shards at a time, so rows that come class by class should not stay so. The file
            ``source_rows.npy`` says which row each has been.

    Returns:
        `out`.

    Raises:
        FileExistsError: when `out` is there.
        PackError: for sparse rows or several views, and for a picture that cannot be read any more.
    """
    with _whole(Path(out)) as folder:
        order = torch.arange(len(source.given))
        if shuffle_seed is not None:
            generator = torch.Generator().manual_seed(key_from(shuffle_seed, "pack"))
            order = torch.randperm(len(order), generator=generator)
        train = Source(
            train=source.train,
            given=source.given,
            clean=source.clean,
            class_names=source.class_names,
            group=source.group,
            clip=source.clip,
            names=source.names,
        )
        tested = source.test is not None and source.test_target is not None
        _pack(train, folder, order, shard_bytes, {"order": shuffle_seed, "account": tuple(source.account), "has_test": tested})
        if source.test is not None and source.test_target is not None:
            test = Source(
                train=source.test,
                given=source.test_target,
                class_names=source.class_names,
                clip=source.test_clip,
                names=source.test_names,
            )
            _pack(test, folder / "test", torch.arange(len(test.given)), shard_bytes, {"order": None})
    return Path(out)


def pack_arrays(
    blocks: Iterable[np.ndarray[Any, Any]],
    given: Tensor,
    class_names: Sequence[str],
    out: str | Path,
    *,
    clean: Tensor | None = None,
    group: Tensor | None = None,
    names: Iterable[str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Pack rows that need not fit in memory: they come in blocks, and keep their order.

    Rows that come class by class should be put in a random order before: a run mixes the rows of a few shards at a time.

    Args:
        blocks: arrays (M, ...) of rows of one shape, uint8 or float32; M may differ.
        given: (N,) int64 labels in 0..K-1, -1 for none.
        class_names: K names.
        out: folder of the pack, which must not be there yet; it appears when all is written.
        clean: (N,) int64 true labels, -1 where unknown.
        group: (N,) int64 groups.
        names: N names.
        shard_bytes: size of a shard; a run with ``shuffle_blocks: B`` reads B of them at a time.

    Returns:
        `out`.

    Raises:
        FileExistsError: when `out` is there.
        PackError: when rows and labels are not equally many, or rows differ in shape or type.

    Example:
        >>> import tempfile
        >>> from noisylab.data.shards.module import Shards
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rows = [np.zeros((2, 3, 8, 8), np.uint8), np.ones((4, 3, 8, 8), np.uint8)]
        ...     _ = pack_arrays(rows, torch.tensor([0, 0, 1, 1, 1, 1]), ("a", "b"), f"{folder}/pack")
        ...     data = Shards(f"{folder}/pack", flip=0.0)
        ...     data.setup()
        ...     len(data.source.train), data.num_classes
        (6, 2)
    """
    columns = {"given": given, "clean": clean, "group": group}
    with _whole(Path(out)) as folder:
        _write(folder, "arrays", blocks, columns, tuple(class_names), names, shard_bytes, {"account": ()})
    return Path(out)


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder that gets its name when all is in it and on the disk."""
    if os.path.lexists(out):
        raise FileExistsError(f"{out} is there already; name another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    clear_partials(out.parent, out.name, older_than=_STALE)
    partial = partial_name(out)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if os.path.lexists(out):
            raise FileExistsError(f"{out} has come to be there meanwhile; name another folder")
        move(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _pack(source: Source, folder: Path, order: Tensor, shard_bytes: int, more: dict[str, Any]) -> None:
    store = source.train
    names = None if source.names is None else (source.names[row] for row in order.tolist())
    moved = order if more["order"] is not None else None
    columns = {"given": source.given, "clean": source.clean, "group": source.group, "clip": source.clip}
    ordered = {name: None if values is None else values[order] for name, values in columns.items()}
    kind: Literal["pictures", "arrays"]
    rows: Iterable[Any]
    if isinstance(store, FileRows):
        kind, rows = "pictures", _contents(store.paths, order)
        more["measured"] = {"depth": depth_numbers(store.depth), "allow_truncated": store.allow_truncated}
    elif isinstance(store, DenseRows):
        kind, rows = "arrays", (store.gather(part).numpy() for part in order.split(_ROWS))
    else:
        raise PackError(f"{type(store).__name__} cannot be packed: give pictures, or one dense input a row")
    _write(folder, kind, rows, {**ordered, "source_rows": moved}, source.class_names, names, shard_bytes, more)


def _contents(paths: Sequence[str], order: Tensor) -> Iterator[bytes]:
    """The content of picture files, read ahead."""
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for part in order.split(_ROWS):
            yield from pool.map(_content, [paths[row] for row in part.tolist()])


def _content(path: str) -> bytes:
    stored: bytes | None = getattr(path, "content", None)
    try:
        return Path(path).read_bytes() if stored is None else stored
    except OSError as error:
        raise PackError(f"the picture {path} cannot be read any more: {error.strerror or error}; start again") from error


def _write(
    folder: Path,
    kind: Literal["pictures", "arrays"],
    rows: Iterable[Any],
    columns: dict[str, Tensor | None],
    class_names: tuple[str, ...],
    names: Iterable[str] | None,
    shard_bytes: int,
    more: dict[str, Any],
) -> None:
    """Write the files of a pack into a folder.

    Args:
        folder: empty.
        kind: what the rows are.
        rows: contents of files, or blocks of an array.
        columns: "given" and others by name, each as long as there are rows.
        class_names: K names.
        names: of the rows.
        shard_bytes: size of a shard.
        more: further parts of the manifest.
    """
    if not 1 <= shard_bytes < _LARGEST:
        raise ValueError(f"shard_bytes must be in 1..{_LARGEST - 1}, got {shard_bytes}")
    sums = _Sums()
    shards = _array_shards(folder, rows, shard_bytes, sums) if kind == "arrays" else _picture_shards(folder, rows, shard_bytes)
    count = sum(shard.rows for shard in shards)
    lengths = {name: len(values) for name, values in columns.items() if values is not None}
    wrong = [f"{name} has {length:,}" for name, length in lengths.items() if length != count]
    if wrong or not count:
        raise PackError(f"there are {count:,} rows, but {', '.join(wrong) or 'none to pack'}; give one of each for every row")
    parts = {}
    for name, values in columns.items():
        if values is not None:
            file = folder / f"{name}.npy"
            whole = name == "source_rows" or int(values.max()) >= 2**31 or int(values.min()) < -(2**31)
            np.save(file, values.numpy().astype(np.int64 if whole else np.int32))
            parts[name] = _part(file)
    if names is not None:
        column = TextColumn.of(names)
        if len(column) != count:
            raise PackError(f"there are {count:,} rows, but {len(column):,} names; give one for every row")
        for file in column.save(folder / "names"):
            parts[file.name.removesuffix(".npy")] = _part(file)
    row = {} if kind == "pictures" else {"shape": list(sums.shape), "dtype": sums.dtype}
    measured = more.pop("measured", {}) if kind == "pictures" else sums.measured()
    Manifest(kind, class_names, tuple(shards), parts, row, measured, **more).write(folder)


def _picture_shards(folder: Path, contents: Iterable[bytes], shard_bytes: int) -> list[Shard]:
    """Write files of any size into shards, by litdata."""
    try:
        from litdata.streaming import Cache
    except ImportError as error:
        raise ImportError(_NO_LITDATA) from error
    folder.mkdir(exist_ok=True)
    cache = Cache(str(folder), chunk_bytes=shard_bytes)
    count = 0
    for content in contents:
        cache[count] = content
        count += 1
    if not count:
        return []
    cache.done()
    cache.merge(1)
    index = json.loads((folder / "index.json").read_text())
    files = [(folder / chunk["filename"], chunk["chunk_size"]) for chunk in index["chunks"]]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda pair: _part(*pair), files))


def _array_shards(folder: Path, blocks: Iterable[np.ndarray[Any, Any]], shard_bytes: int, sums: _Sums) -> list[Shard]:
    """Write rows of one size into shards: what litdata would write, many rows at once, where it takes 17 us for each."""
    folder.mkdir(exist_ok=True)
    shards: list[Shard] = []
    waiting: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    filled, fit = 0, 0

    def write(rows: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        count, size = rows.shape
        items = np.empty((count, _NUMBER + size), dtype=np.uint8)
        items[:, :_NUMBER] = np.array([size], dtype=np.uint32).view(np.uint8)
        items[:, _NUMBER:] = rows
        places = _NUMBER * (2 + count) + (_NUMBER + size) * np.arange(count + 1)
        head = np.concatenate([[count], places]).astype(np.uint32)
        file = folder / f"chunk-0-{len(shards)}.bin"
        with file.open("wb") as written:
            written.write(head.data)
            written.write(items.data)
        shards.append(_part(file, count))

    for block in _small_blocks(blocks):
        sums.add(block)
        rows = np.ascontiguousarray(block).reshape(len(block), -1).view(np.uint8)
        fit = fit or max((shard_bytes - 2 * _NUMBER) // (rows.shape[1] + 2 * _NUMBER), 1)
        waiting.append(rows)
        filled += len(rows)
        while filled >= fit:
            joined = np.concatenate(waiting)
            write(joined[:fit])
            waiting, filled = [joined[fit:]], filled - fit
    if filled:
        write(np.concatenate(waiting))
    if shards:
        chunks = [{"filename": one.file, "chunk_bytes": one.size, "chunk_size": one.rows, "dim": None} for one in shards]
        index = {"chunks": chunks, "config": _litdata_config(shard_bytes)}
        (folder / "index.json").write_text(json.dumps(index))
    return shards


def _litdata_config(shard_bytes: int) -> dict[str, Any]:
    """What litdata says of shards whose rows are bytes; it is asked, since that may change with its version."""
    try:
        from litdata.streaming.writer import BinaryWriter
    except ImportError as error:
        raise ImportError(_NO_LITDATA) from error
    with tempfile.TemporaryDirectory() as folder:
        writer = BinaryWriter(folder, chunk_bytes=shard_bytes)
        writer.add_item(0, b"row")
        config: dict[str, Any] = writer.get_config()
    return config


def _part(file: Path, rows: int = 0) -> Shard:
    return Shard(file.name, file.stat().st_size, file_digest(file), rows)


class _Sums:
    """Shape and type of rows of arrays, and sums over their channels or features."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self._total: np.ndarray[Any, Any] = np.zeros(0)
        self._squares: np.ndarray[Any, Any] = np.zeros(0)
        self._shift: np.ndarray[Any, Any] = np.zeros(0)  # the first row's: what varies little keeps its digits
        self._count = 0

    def add(self, block: np.ndarray[Any, Any]) -> None:
        """Another block, which must be like those before it."""
        if block.dtype not in _TYPES:
            raise PackError(f"rows must be uint8 or float32, got {block.dtype}; convert them")
        if self.dtype and (block.shape[1:], _TYPES[block.dtype]) != (self.shape, self.dtype):
            raise PackError(
                f"a row has the shape {block.shape[1:]} and type {block.dtype}, those before it {self.shape} and {self.dtype}; "
                "pack rows of one shape and type"
            )
        self.shape, self.dtype = block.shape[1:], _TYPES[block.dtype]
        # over the pixels of a channel in float32, over features and rows in float64
        values = block.astype(np.float64 if block.ndim == 2 else np.float32).reshape(len(block), block.shape[1], -1)
        if not self._count:
            self._shift = values[0].mean(1, keepdims=True)
        values = values - self._shift
        total = values.sum(2).sum(0, dtype=np.float64)
        squares = np.square(values).sum(2).sum(0, dtype=np.float64)
        if not np.isfinite(squares).all():
            raise PackError("a row holds a value that is nan, infinite or too large; replace it or leave the row out")
        self._total = total if not self._count else self._total + total
        self._squares = squares if not self._count else self._squares + squares
        self._count += values.size // max(block.shape[1], 1)

    def measured(self) -> dict[str, Any]:
        """Mean and standard deviation of each channel or feature; of uint8 images in units where white is 1."""
        top = 255.0 if self.dtype == "uint8" and len(self.shape) == 3 else 1.0
        mean = self._total / self._count
        std = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0)) / top
        return {"mean": ((mean + self._shift[:, 0]) / top).tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}


def _small_blocks(blocks: Iterable[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
    """The same rows in blocks of some megabytes: sums over them take eight bytes a number."""
    for block in blocks:
        if block.ndim < 2:
            raise PackError(f"rows must be vectors or images, got blocks of shape {block.shape}")
        step = max(_PIECE // max(block[:1].nbytes, 1), 1)
        yield from (block[start : start + step] for start in range(0, len(block), step))
