"""From rows to finished batches on the device: views in chunks, images from worker processes, evaluation in order."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from noisylab.data.rows import FileRows, ViewTask
from noisylab.data.transfer import ahead
from noisylab.types import Batch, EvalBatch, Inputs, PlanBatch, StreamRows

__all__ = ["EvalLoader", "build_in_chunks", "build_in_workers", "chunk_rows", "open_in_workers"]

_CHUNK_ROWS, _CHUNK_VALUES = 2048, 2**25  # of a view: more rows gain nothing, and 128 MiB of float32 are enough


class EvalLoader:
    """Batches of a split in order.

    Args:
        split: its name.
        rows: (M,) rows of the split that this rank evaluates.
        batch_size: samples a batch.
        build: maps the rows of each batch, in order, to batches on the device.
    """

    def __init__(
        self, split: str, rows: Tensor, batch_size: int, build: Callable[[Iterator[Tensor]], Iterator[EvalBatch]]
    ) -> None:
        self.split, self.rows, self.batch_size, self._build = split, rows, batch_size, build

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[EvalBatch]:
        return self._build(iter(self.rows.split(self.batch_size)) if len(self.rows) else iter(()))


def build_in_chunks(batches: Iterable[PlanBatch], build: Callable[[StreamRows], Batch], chunk_size: int) -> Iterator[PlanBatch]:
    """Batches with their views, built for several batches at once.

    Views cost many small operations, whose overhead a chunk pays once. What a sample looks like depends on the key and its
    position alone, so neither the size of the chunks nor where a resumed epoch begins changes it. No more than one chunk is kept.

    Args:
        batches: rows.
        build: views of rows.
        chunk_size: rows of the largest stream at which a chunk is complete; at least one batch makes a chunk.
    """
    for group in _groups(batches, chunk_size):
        chunk = _build_chunk(group, build)
        group.clear()
        while chunk:
            yield chunk.popleft()


def chunk_rows(row_size: int) -> int:
    """Rows of a chunk, for samples of `row_size` numbers."""
    return min(_CHUNK_ROWS, max(1, _CHUNK_VALUES // row_size))


def _build_chunk(group: list[PlanBatch], build: Callable[[StreamRows], Batch]) -> deque[PlanBatch]:
    parts = {name: [_rows(batch, name) for batch in group] for name in group[0].streams}
    built = {
        name: build(
            StreamRows(
                torch.cat([rows.index for rows in stream]),
                torch.cat([rows.position for rows in stream]),
                stream[0].views,
                stream[0].key,
                stream[0].epoch,
            )
        ).split([len(rows.index) for rows in stream])
        for name, stream in parts.items()
    }
    return deque(batch.with_streams({name: stream[place] for name, stream in built.items()}) for place, batch in enumerate(group))


def _groups(batches: Iterable[PlanBatch], chunk_size: int) -> Iterator[list[PlanBatch]]:
    group: list[PlanBatch] = []
    filled = 0
    for batch in batches:
        group.append(batch)
        filled += max(len(_rows(batch, name).index) for name in batch.streams)
        if batch.last_of_phase or filled >= chunk_size:
            yield group
            group, filled = [], 0
    if group:
        yield group


def _rows(batch: PlanBatch, name: str) -> StreamRows:
    rows = batch.streams[name]
    assert isinstance(rows, StreamRows)
    return rows


def build_in_workers(store: FileRows, batches: Iterable[PlanBatch], targets: Tensor, device: torch.device) -> Iterator[PlanBatch]:
    """Batches with their views on the device, in the order of `batches`: built, or begun, by the store's workers.

    Args:
        store: the image files.
        batches: rows.
        targets: (N,) int64 labels, on the host.
        device: where the batches are wanted.
    """
    rows: deque[PlanBatch] = deque()

    def noted() -> Iterator[PlanBatch]:
        for batch in batches:
            rows.append(batch)
            yield batch

    for batch in ahead(_begun_in_workers(store, noted(), targets), device):
        named = rows.popleft()
        streams = {}
        for name, begun in batch.streams.items():
            assert isinstance(begun, Batch)
            of = _rows(named, name)
            streams[name] = replace(begun, views=store.finish(begun.views, of.position, of.views, of.key, of.epoch))
        yield batch.with_streams(streams)


def _begun_in_workers(store: FileRows, batches: Iterable[PlanBatch], targets: Tensor) -> Iterator[PlanBatch]:
    """Batches with what the workers built for their views, on the host."""
    waiting: deque[PlanBatch] = deque()

    def tasks() -> Iterator[list[ViewTask]]:
        for batch in batches:
            waiting.append(batch)
            streams = [_rows(batch, name) for name in batch.streams]
            yield [ViewTask(tuple(s.index.tolist()), tuple(s.position.tolist()), s.views, s.key, s.epoch) for s in streams]

    for views in store.run(tasks(), "train"):
        batch = waiting.popleft()
        streams = {}
        for name, built in zip(batch.streams, views, strict=True):
            index = _rows(batch, name).index
            built_batch = Batch(built, targets[index], index)
            streams[name] = built_batch.map(Tensor.pin_memory) if store.pin_memory else built_batch
        yield batch.with_streams(streams)


def open_in_workers(
    store: FileRows, chunks: Iterable[Tensor], batch_of: Callable[[Inputs, Tensor], EvalBatch], device: torch.device
) -> Iterator[EvalBatch]:
    """Batches of chunks of rows in the evaluation view, opened by the store's workers, on the device.

    Args:
        store: the image files.
        chunks: rows of each batch, in order.
        batch_of: makes a batch of inputs and rows, on the host.
        device: where the batches are wanted.
    """
    opened: deque[Tensor] = deque()

    def begun() -> Iterator[EvalBatch]:
        waiting: deque[Tensor] = deque()

        def tasks() -> Iterator[list[ViewTask]]:
            for chunk in chunks:
                waiting.append(chunk)
                yield [ViewTask(tuple(chunk.tolist()), tuple(chunk.tolist()), ("eval",), 0)]

        for ((inputs,),) in store.run(tasks(), "eval"):
            opened.append(waiting.popleft())
            batch = batch_of(inputs, opened[-1])
            yield batch.map(Tensor.pin_memory) if store.pin_memory else batch

    for batch in ahead(begun(), device):
        (inputs,) = store.finish((batch.inputs,), opened.popleft(), ("eval",), 0)
        yield replace(batch, inputs=inputs)
