"""Storage of a data set's inputs: in memory, as tensors or sparse rows, or in image files."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from noisylab.data.cutrows import cut_squares, finish_views
from noisylab.data.pictures import Depth, UnreadableImage, open_image
from noisylab.data.shards.rows import ShardRows
from noisylab.data.textcolumn import TextColumn
from noisylab.transforms.base import View, to_device
from noisylab.transforms.cuts import CutView
from noisylab.transforms.draws import Draws, key_from
from noisylab.transforms.pil import PILView
from noisylab.types import Inputs
from noisylab.upstream.torch import shut_down_workers

__all__ = [
    "DenseRows",
    "FileRows",
    "MultiRows",
    "OneInput",
    "RowStore",
    "SparseRows",
    "TensorStore",
    "ViewTask",
    "build_views",
    "open_image",
]


class TensorStore(Protocol):
    """Rows that fit in memory."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as they are kept."""
        ...

    @property
    def row_size(self) -> int:
        """Numbers in one row as a network receives it."""
        ...

    def settle(self, device: torch.device) -> None:
        """Move to a device and stay there."""
        ...

    def gather(self, index: Tensor) -> Inputs:
        """Rows `index` (B,), given on the host, where the store lies."""
        ...


class OneInput(TensorStore, Protocol):
    """Rows of one tensor each."""

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index` (B,), given on the host, where the store lies."""
        ...


class DenseRows:
    """Rows of one tensor (N, ...), kept in their own type (uint8 for images).

    Args:
        values: (N, ...) tensor.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.values.nbytes

    @property
    def row_size(self) -> int:
        """Numbers in one row."""
        return self.values[0].numel() if len(self.values) else 1

    def settle(self, device: torch.device) -> None:
        """Move to a device."""
        self.values = self.values.to(device)

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index`."""
        return self.values.index_select(0, to_device(index, self.values.device))


class SparseRows:
    """Rows of a CSR matrix, kept sparse and made dense batch by batch.

    Args:
        data: (nnz,) float32 values.
        indices: (nnz,) int64 columns.
        indptr: (N + 1,) int64 start of each row; stays on the host, which must know how much to gather.
        num_columns: D.
    """

    def __init__(self, data: Tensor, indices: Tensor, indptr: Tensor, num_columns: int) -> None:
        self.data, self.indices, self.indptr, self.num_columns = data, indices, indptr, num_columns

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the values and their columns."""
        return self.data.nbytes + self.indices.nbytes

    @property
    def row_size(self) -> int:
        """Numbers in one dense row."""
        return self.num_columns

    def settle(self, device: torch.device) -> None:
        """Move to a device."""
        self.data, self.indices = self.data.to(device), self.indices.to(device)

    def gather(self, index: Tensor) -> Tensor:
        """Rows `index` as a dense (B, D) tensor of the values' type, float32."""
        start, counts = self.indptr[index], self.indptr[index + 1] - self.indptr[index]
        row = torch.repeat_interleave(torch.arange(len(index)), counts)
        first = torch.cumsum(counts, 0) - counts
        place = torch.stack([row, torch.arange(len(row)) - first[row] + start[row]])
        row, source = to_device(place, self.data.device)
        dense = self.data.new_zeros(len(index), self.num_columns)
        return dense.index_put((row, self.indices[source]), self.data[source], accumulate=True)


class MultiRows:
    """Several views of the same samples, each with its own store.

    Args:
        views: stores of equal length by view name.
    """

    def __init__(self, views: Mapping[str, OneInput]) -> None:
        self.views = dict(views)

    def __len__(self) -> int:
        return len(next(iter(self.views.values())))

    @property
    def nbytes(self) -> int:
        """Bytes of all views."""
        return sum(store.nbytes for store in self.views.values())

    @property
    def row_size(self) -> int:
        """Numbers in one row of all views."""
        return sum(store.row_size for store in self.views.values())

    def settle(self, device: torch.device) -> None:
        """Move to a device."""
        for store in self.views.values():
            store.settle(device)

    def gather(self, index: Tensor) -> dict[str, Tensor]:
        """Rows `index` of every view."""
        return {name: store.gather(index) for name, store in self.views.items()}


def build_views(rows: Inputs, position: Tensor, names: Sequence[str], key: int, views: Any, epoch: int = 0) -> tuple[Inputs, ...]:
    """The named views of some rows, each with its own random draws, on the device of the rows.

    Args:
        rows: gathered inputs of B samples.
        position: (B,) int64 on the host, with `key` the name of each sample's draws.
        names: view names; a repeated name is drawn again.
        key: see `StreamRows.key`.
        views: transform by view name; for several inputs a sample, one transform for all or a mapping with one for each.
        epoch: whose transforms are applied, where they change over training.
    """
    device = next(iter(rows.values())).device if isinstance(rows, dict) else rows.device
    there = to_device(position, device)
    built: list[Inputs] = []
    for place, name in enumerate(names):
        view = views[name]
        if isinstance(rows, dict):
            each = view if isinstance(view, Mapping) else dict.fromkeys(rows, view)
            draws = {n: Draws(key_from(key, place, name, n), there, host=position) for n in rows}
            built.append({n: _of_epoch(each[n], epoch)(x, draws[n]) for n, x in rows.items()})
        else:
            built.append(_of_epoch(view, epoch)(rows, Draws(key_from(key, place, name), there, host=position)))
    return tuple(built)


def _of_epoch(view: Any, epoch: int) -> Any:
    """The transform of an epoch; what is no view of ours, but a function, has one for all."""
    return view.at(epoch) if isinstance(view, View | PILView) else view


@dataclass(frozen=True)
class ViewTask:
    """Work for a loader worker: the views of some image files.

    Args:
        index: rows of the file list.
        position: places that, with `key`, name the draws.
        names: view names.
        key: see `StreamRows.key`.
        epoch: see `StreamRows.epoch`.
    """

    index: tuple[int, ...]
    position: tuple[int, ...]
    names: tuple[str, ...]
    key: int
    epoch: int = 0


class _Tasks:
    """A sampler that hands out whatever tasks it was given last."""

    def __init__(self) -> None:
        self.tasks: Iterable[list[ViewTask]] = ()

    def __iter__(self) -> Iterator[list[ViewTask]]:
        return iter(self.tasks)


@dataclass(frozen=True)
class _ViewBuilder:
    """The part of `FileRows` that a worker process needs."""

    paths: Sequence[str]
    views: Mapping[str, Any]
    allow_truncated: bool
    depth: Depth | None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, tasks: list[ViewTask]) -> list[tuple[Tensor, ...]] | UnreadableImage:
        try:
            return [self._build(task) for task in tasks]
        except UnreadableImage as error:
            # handed over, not raised: the loader would send its traceback as text, the first lines of which hide the message
            return error.with_traceback(None)

    def _build(self, task: ViewTask) -> tuple[Tensor, ...]:
        views = [self.views[name] for name in task.names]
        if all(isinstance(view, CutView) for view in views):
            cuts = [(name, view.cut) for name, view in zip(task.names, views, strict=True)]
            paths = [self.paths[row] for row in task.index]
            return cut_squares(paths, task.position, cuts, task.key, allow_truncated=self.allow_truncated, depth=self.depth)
        images = [open_image(self.paths[row], allow_truncated=self.allow_truncated, depth=self.depth) for row in task.index]
        built = []
        for place, name in enumerate(task.names):
            draws = Draws(key_from(task.key, place, name), torch.tensor(task.position))
            view = _of_epoch(self.views[name], task.epoch)
            built.append(torch.stack([view(image, draws.python(i)) for i, image in enumerate(images)]))
        return tuple(built)


def _outlive_signals(worker: int) -> None:
    """What is sent to all processes of a run is for the main one, which still needs its workers to come to a good end."""

    def once(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second is the main process's own

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class FileRows:
    """Image files, opened in worker processes that hold no random state, and augmented there or, in part, on the training device.

    Args:
        paths: one file a row.
        views: view by name: a `PILView`, or any function of a PIL image in RGB and a `random.Random`; or all of them `CutView`s,
            which `finish` is for.
        num_workers: processes; 0 works in the main one.
        pin_memory: whether batches are put in page-locked memory for a GPU.
        allow_truncated: see `open_image`.
        depth: likewise.
    """

    def __init__(
        self,
        paths: Sequence[str],
        views: Mapping[str, Any],
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        allow_truncated: bool = False,
        depth: Depth | None = None,
    ) -> None:
        # of many files, a list of names would be copied by every worker; what comes as some other store of them stays one
        self.paths: Sequence[str] = TextColumn.of(paths) if isinstance(paths, list | tuple) else paths
        self.views = dict(views)
        self.num_workers, self.pin_memory, self.allow_truncated = num_workers, pin_memory, allow_truncated
        self.depth = depth
        self._pools: dict[tuple[str, bool], tuple[_Tasks, DataLoader[Any]]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pools": {}}

    def close(self) -> None:
        """Shut down the workers; the next `run` starts new ones."""
        for _, loader in self._pools.values():
            shut_down_workers(loader)
        self._pools.clear()

    def here(self, task: ViewTask) -> tuple[Inputs, ...]:
        """Finished views, made without workers.

        Raises:
            UnreadableImage: naming a file that cannot be read.
        """
        (built,) = _readable(iter([self._builder()[[task]]]))
        return self.finish(built[0], torch.tensor(task.position), task.names, task.key, task.epoch)

    def finish(
        self, built: Sequence[Inputs], position: Tensor, names: Sequence[str], key: int, epoch: int = 0
    ) -> tuple[Inputs, ...]:
        """What becomes, on the device where they are, of what workers have built for some samples; see `finish_views`."""
        return finish_views(built, position, names, key, self.views, epoch)

    def _builder(self) -> _ViewBuilder:
        return _ViewBuilder(self.paths, self.views, self.allow_truncated, self.depth)

    def run(self, tasks: Iterable[list[ViewTask]], pool: str) -> Iterator[list[tuple[Tensor, ...]]]:
        """Results of `tasks` in order; workers of the same `pool` name stay alive from call to call.

        Raises:
            UnreadableImage: naming a file that cannot be read, in whatever process it was opened.
        """
        if not self._pools:
            # The pools must not become garbage together with these rows: workers that are collected in a cycle are not told to
            # stop, and each is then waited for five seconds.
            weakref.finalize(self, self._pools.clear)
        key = pool, self.pin_memory
        if key not in self._pools:
            sampler = _Tasks()
            loader: DataLoader[Any] = DataLoader(
                self._builder(),  # type: ignore[arg-type]
                batch_size=None,
                sampler=sampler,
                num_workers=self.num_workers,
                persistent_workers=self.num_workers > 0,
                pin_memory=self.pin_memory,
                worker_init_fn=_outlive_signals if self.num_workers else None,
                generator=torch.Generator(),  # else the loader takes its base seed from torch's own generator
            )
            self._pools[key] = sampler, loader
        sampler, loader = self._pools[key]
        sampler.tasks = tasks
        return _readable(iter(loader))


def _readable(results: Iterator[list[tuple[Tensor, ...]] | UnreadableImage]) -> Iterator[list[tuple[Tensor, ...]]]:
    for result in results:
        if isinstance(result, UnreadableImage):
            raise result
        yield result


RowStore = DenseRows | SparseRows | MultiRows | ShardRows | FileRows | TensorStore
