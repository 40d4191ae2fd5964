"""Views are built for several batches at once, and no one can tell."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers import DropoutMLP, PhasedDummy, SideStreamDummy, ToyData, fit
from torch import Tensor

from noisylab.data import Digits
from noisylab.data.loaders import build_in_chunks, chunk_rows
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.methods import ACT, NoisyLabelMethod
from noisylab.types import Batch, EpochPlan, Phase, PlanBatch, Stream, StreamRows

CPU = torch.device("cpu")
PLAN = EpochPlan(
    (
        Phase("first", {"train": Stream(views=("weak", "strong")), "meta": Stream(torch.arange(3), endless=True)}),
        Phase("second", {"train": Stream(batch_size=5, views=("strong",))}),
    )
)


def _plan(rows: int = 23) -> ResolvedPlan:
    return ResolvedPlan(PLAN, epoch=2, seed=1, train_rows=torch.arange(rows), batch_size=4)


def _flat(batch: PlanBatch) -> list[Tensor]:
    return [t for name in batch.streams for t in (*batch[name].views, batch[name].target, batch[name].index)]


def _batches(chunk_size: int | None, start: int = 0) -> list[PlanBatch]:
    data = ToyData(num_train=23, chunk_size=chunk_size)
    data.setup()
    return list(data.batches(_plan(), CPU, start))


@pytest.mark.parametrize("chunk_size", [4, 7, 12, None])
@pytest.mark.parametrize("start", [0, 1, 5, 7])
def test_neither_the_chunk_nor_the_start_changes_a_batch(chunk_size: int | None, start: int) -> None:
    alone, chunked = _batches(1)[start:], _batches(chunk_size, start)
    assert [(b.phase, b.position, b.last_of_phase) for b in alone] == [(b.phase, b.position, b.last_of_phase) for b in chunked]
    for one, other in zip(alone, chunked, strict=True):
        assert one.streams.keys() == other.streams.keys()
        assert all(torch.equal(a, b) for a, b in zip(_flat(one), _flat(other), strict=True))


def test_views_of_pixels_do_not_depend_on_the_chunk_either() -> None:
    plan = ResolvedPlan(
        EpochPlan((Phase(streams={"train": Stream(views=("weak", "strong"))}),)),
        epoch=0,
        seed=0,
        train_rows=torch.arange(200),
        batch_size=32,
    )
    found = []
    for chunk_size in (1, 100, 2048):
        data = Digits(subset=200, chunk_size=chunk_size)
        data.setup()
        found.append([t for batch in data.batches(plan, CPU) for t in _flat(batch)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_chunks_are_whole_batches_of_one_phase() -> None:
    sizes: list[list[int]] = []

    def build(rows: StreamRows) -> Batch:
        sizes.append([len(rows.index)])
        return Batch((rows.index,), rows.index, rows.index)

    plan = _plan()  # 4 x 5 + 3 rows, then 5 x 4 + 3
    list(build_in_chunks(plan.batches(), build, 9))
    trains = [size for (size,) in sizes]
    # first phase: 12 and 11 rows of train, as many of meta, which is 4 a batch; second phase: 10, 10, 3
    assert trains == [12, 12, 11, 12, 10, 10, 3]


def test_a_chunk_is_bounded_by_rows_and_by_values() -> None:
    assert chunk_rows(3 * 32 * 32) == 2048
    assert chunk_rows(3 * 224 * 224) == 222
    assert chunk_rows(2**30) == 1


def _watch_chunks(data: ToyData) -> tuple[list[weakref.ref[Any]], list[int]]:
    """References to every chunk's views, and how many older ones were alive whenever a new one was begun."""
    chunks: list[weakref.ref[Any]] = []
    alive: list[int] = []
    original: Callable[..., Batch] = data._build

    def build(*args: Any, **kwargs: Any) -> Batch:
        alive.append(sum(ref() is not None for ref in chunks))
        batch = original(*args, **kwargs)
        # every batch of the chunk is a view of this tensor
        view = batch.views[0]
        assert isinstance(view, Tensor)
        chunks.append(weakref.ref(view))
        return batch

    data._build = build  # type: ignore[method-assign]
    return chunks, alive


@pytest.mark.parametrize(
    "method",
    [lambda: ACT(3, DropoutMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3"), lambda: PhasedDummy(3, DropoutMLP)],
    ids=["act", "phased"],
)
def test_training_keeps_one_chunk_at_a_time(method: Callable[[], NoisyLabelMethod], tmp_path: Any) -> None:
    data = ToyData(num_train=40, chunk_size=16)
    chunks, alive = _watch_chunks(data)
    fit(method(), data, tmp_path, 2)
    assert len(chunks) > 4
    # the parts of a chunk share its memory through `_base`, so a chunk lives as long as any of its batches
    streams = 2 if isinstance(method(), PhasedDummy) else 1
    assert max(alive) < streams


def test_a_side_stream_is_built_in_the_same_chunks(tmp_path: Any) -> None:
    runs = []
    for chunk_size in (1, None):
        torch.manual_seed(0)
        method = SideStreamDummy(3, DropoutMLP)
        runs.append((fit(method, ToyData(num_train=29, chunk_size=chunk_size), tmp_path / str(chunk_size), 2), method.seen))
    (one, seen_one), (other, seen_other) = runs
    assert seen_one == seen_other
    assert all(torch.equal(one["networks"][name], other["networks"][name]) for name in one["networks"])


def test_rows_are_read_only_as_far_as_a_chunk_needs() -> None:
    asked: list[int] = []

    def rows() -> Iterator[PlanBatch]:
        for batch in _plan().batches():
            asked.append(batch.position)
            yield batch

    data = ToyData(num_train=23, chunk_size=8)
    data.setup()
    next(data._build_batches(rows(), CPU))
    assert asked == [0, 1]
