"""Loaders of rows for evaluation, and views built by worker processes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noisylab.data.rows import FileRows, ViewTask
from noisylab.types import Batch, Inputs, PlanBatch, StreamRows

__all__ = ["EvalLoader", "EvalRows", "build_in_workers"]


@dataclass(frozen=True)
class EvalRows:
    """Rows of a split to evaluate, with their inputs when a worker has already opened the files."""

    index: Tensor
    split: str
    inputs: Inputs | None = None

    def to(self, device: torch.device | str, **kwargs: Any) -> EvalRows:
        """The same rows on another device."""
        inputs = self.inputs.to(device, **kwargs) if isinstance(self.inputs, Tensor) else self.inputs
        return EvalRows(self.index.to(device, **kwargs), self.split, inputs)


class EvalLoader:
    """Rows of a split in order.

    Args:
        split: its name.
        rows: (M,) rows of the split that this rank evaluates.
        batch_size: samples a batch.
        files: where the inputs are, when they are image files.
    """

    def __init__(self, split: str, rows: Tensor, batch_size: int, files: FileRows | None = None) -> None:
        self.split, self.rows, self.batch_size, self.files = split, rows, batch_size, files

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[EvalRows]:
        chunks = [self.rows[start : start + self.batch_size] for start in range(0, len(self.rows), self.batch_size)]
        if self.files is None:
            yield from (EvalRows(chunk, self.split) for chunk in chunks)
            return
        tasks = ([ViewTask(tuple(chunk.tolist()), tuple(chunk.tolist()), ("eval",), 0)] for chunk in chunks)
        for chunk, ((inputs,),) in zip(chunks, self.files.run(tasks, "eval"), strict=True):
            yield EvalRows(chunk, self.split, inputs)


def build_in_workers(store: FileRows, batches: Iterator[PlanBatch], targets: Tensor) -> Iterator[PlanBatch]:
    """Batches with their views, built by the store's workers in the order of `batches`."""
    waiting: deque[PlanBatch] = deque()

    def tasks() -> Iterator[list[ViewTask]]:
        for batch in batches:
            waiting.append(batch)
            yield [
                ViewTask(tuple(rows.index.tolist()), tuple(rows.position.tolist()), rows.views, rows.key)
                for rows in batch.streams.values()
                if isinstance(rows, StreamRows)
            ]

    for views in store.run(tasks(), "train"):
        batch = waiting.popleft()
        streams = {
            name: Batch(built, targets[rows.index], rows.index)
            for (name, rows), built in zip(batch.streams.items(), views, strict=True)
            if isinstance(rows, StreamRows)
        }
        yield batch.with_streams(streams)
