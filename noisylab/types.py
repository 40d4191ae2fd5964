"""Types that all parts share: batches, plans, and what a method may know about its data.

Letters in shapes: B batch, K classes, N training samples (rows of the original training set), D features, C, H, W image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "Batch",
    "DataInfo",
    "EpochPlan",
    "EvalBatch",
    "Inputs",
    "LRSchedulerFactory",
    "OptimizerFactory",
    "Phase",
    "PlanBatch",
    "Stream",
    "StreamRows",
    "join_inputs",
    "map_inputs",
]

Inputs: TypeAlias = Tensor | dict[str, Tensor]
"""What a network is given: one tensor (B, ...) or, for multi-view data, a dict of them by view name."""

OptimizerFactory: TypeAlias = Callable[[Iterable[Any]], torch.optim.Optimizer]
"""Called with parameters, returns an optimizer."""

LRSchedulerFactory: TypeAlias = Callable[
    [torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler | torch.optim.lr_scheduler.ReduceLROnPlateau
]
"""Called with an optimizer, returns a schedule that is stepped once an epoch."""


def map_inputs(function: Callable[[Tensor], Tensor], value: Inputs) -> Inputs:
    """The inputs with a function applied to each of their tensors."""
    if isinstance(value, dict):
        return {name: function(tensor) for name, tensor in value.items()}
    return function(value)


def join_inputs(parts: Sequence[Inputs]) -> Inputs:
    """The samples of several inputs of one kind, one after the other.

    Args:
        parts: at least one; all tensors, or all dicts with the same names. Tokens (with an ``attention_mask``) may differ in
            length: zeros, which are not attended to, fill up the shorter ones.
    """
    first = parts[0]
    if isinstance(first, dict):
        if "attention_mask" in first:
            parts = _of_one_length(parts)
        return {name: torch.cat([part[name] for part in parts if isinstance(part, dict)]) for name in first}
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def _of_one_length(parts: Sequence[Inputs]) -> list[Inputs]:
    longest = max(part["attention_mask"].shape[1] for part in parts if isinstance(part, dict))
    return [map_inputs(lambda rows: torch.nn.functional.pad(rows, (0, longest - rows.shape[1])), part) for part in parts]


def _split(value: Inputs, sizes: list[int]) -> list[Any]:
    if isinstance(value, dict):
        parts = {name: tensor.split(sizes) for name, tensor in value.items()}
        return [{name: part[place] for name, part in parts.items()} for place in range(len(sizes))]
    return list(value.split(sizes))


@dataclass(frozen=True)
class Batch:
    """What a training step sees of some samples: views, given labels, row numbers. Never the true labels.

    Args:
        views: one `Inputs` for each view the method asked for, in that order.
        target: (B,) int64, the given label, in 0..K-1; -1 in the unlabeled rows of a stream that names some.
        index: (B,) int64, the row in the original training set, in 0..N-1.
    """

    views: tuple[Inputs, ...]
    target: Tensor
    index: Tensor

    def __len__(self) -> int:
        return int(self.index.shape[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function applied to each of its tensors."""
        views = tuple(map_inputs(function, view) for view in self.views)
        return Batch(views, function(self.target), function(self.index))

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch, in a fixed order."""
        views = [part for view in self.views for part in (view.values() if isinstance(view, dict) else (view,))]
        return [*views, self.target, self.index]

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """The same batch on another device."""
        return self.map(lambda tensor: tensor.to(device, **kwargs))

    def split(self, sizes: list[int]) -> list[Batch]:
        """Batches of these sizes, which add up to this one; they share its memory."""
        views = zip(*(_split(view, sizes) for view in self.views), strict=True)
        return [Batch(*parts) for parts in zip(views, self.target.split(sizes), self.index.split(sizes), strict=True)]


@dataclass(frozen=True)
class EvalBatch:
    """Samples to evaluate on.

    Args:
        inputs: the evaluation view.
        target: (B,) int64, the label to compare with; -1 where there is none.
        index: (B,) int64, the row in its own split (test, predict) or in the original training set (val, train).
        split: name of the split the samples belong to.
    """

    inputs: Inputs
    target: Tensor
    index: Tensor
    split: str

    def __len__(self) -> int:
        return int(self.index.shape[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> EvalBatch:
        """The batch with a function applied to each of its tensors."""
        return EvalBatch(map_inputs(function, self.inputs), function(self.target), function(self.index), self.split)

    def to(self, device: torch.device | str, **kwargs: Any) -> EvalBatch:
        """The same batch on another device."""
        return self.map(lambda tensor: tensor.to(device, **kwargs))


@dataclass(frozen=True)
class Stream:
    """One sequence of samples within a phase.

    Args:
        rows: (M,) int64 rows of the original training set; `None` for all training rows.
        views: names of the views to build, in order; a name given twice is drawn twice, independently.
        batch_size: samples a batch over all ranks; `None` for the data module's.
        order: "shuffle" draws a new order each pass, "sequential" keeps the order of `rows`.
        endless: repeats (with a new order each pass) for as long as the finite streams of its phase last, and always
            yields whole batches, also when `rows` holds fewer than one batch. In sequential order the next epoch goes on where
            this one stops.
    """

    rows: Tensor | None = None
    views: tuple[str, ...] = ("weak",)
    batch_size: int | None = None
    order: Literal["shuffle", "sequential"] = "shuffle"
    endless: bool = False


@dataclass(frozen=True)
class Phase:
    """A part of an epoch in which every batch has the same streams.

    Args:
        name: handed to the training step as `PlanBatch.phase`.
        streams: the streams by name. The finite ones must have the same number of batches.
        steps: number of batches, needed only when every stream is endless.
    """

    name: str = "train"
    streams: Mapping[str, Stream] = field(default_factory=lambda: {"train": Stream()})
    steps: int | None = None


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch trains on: phases, one after the other."""

    phases: tuple[Phase, ...] = (Phase(),)


@dataclass(frozen=True)
class StreamRows:
    """The samples of one stream in one batch, before their views are built.

    Args:
        index: (B,) int64 rows of the original training set, this rank's share.
        position: (B,) int64 place of each sample in its stream's epoch; the key of its random draws.
        views: names of the views to build.
        key: integer naming (seed, epoch, phase, stream); with `position` and the view it fixes every draw.
        epoch: 0-based epoch, for views whose strength depends on it.
    """

    index: Tensor
    position: Tensor
    views: tuple[str, ...]
    key: int
    epoch: int = 0


@dataclass(frozen=True)
class PlanBatch:
    """What `training_step` receives.

    Args:
        phase: name of the phase.
        streams: a `Batch` for each stream of the phase.
        epoch: 0-based epoch.
        position: batches of this epoch before this one.
        last_of_phase: whether the phase ends with this batch.
        last_of_epoch: whether the epoch ends with this batch.
        share: rows of the largest rank share of each stream, the width of a gather over ranks.
        weight: rows of each stream over all ranks, divided by the number of ranks.
        step: batches of this phase before this one.
        steps: batches of this phase.
    """

    phase: str
    streams: Mapping[str, Batch | StreamRows]
    epoch: int
    position: int
    last_of_phase: bool
    last_of_epoch: bool
    share: Mapping[str, int] = field(default_factory=dict)
    weight: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    steps: int = 1

    def __getitem__(self, stream: str) -> Batch:
        batch = self.streams[stream]
        assert isinstance(batch, Batch), "views are built by the data module"
        return batch

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.streams.values() if isinstance(batch, Batch))

    def weight_of(self, stream: str) -> float:
        """Weight of a `NoisyLabelMethod.mean` over a stream in an epoch's mean: its samples, shared equally by the ranks."""
        return self.weight[stream] if stream in self.weight else len(self[stream])

    def to(self, device: torch.device | str, **kwargs: Any) -> PlanBatch:
        """The same batch on another device; rows whose views are still to be built stay on the host."""
        built = {name: part.to(device, **kwargs) for name, part in self.streams.items() if isinstance(part, Batch)}
        return self.with_streams({**self.streams, **built})

    def with_streams(self, streams: Mapping[str, Batch | StreamRows]) -> PlanBatch:
        """The same place in the epoch with other streams."""
        return PlanBatch(
            self.phase,
            streams,
            self.epoch,
            self.position,
            self.last_of_phase,
            self.last_of_epoch,
            self.share,
            self.weight,
            self.step,
            self.steps,
        )


@dataclass(frozen=True)
class DataInfo:
    """All that a method may know of its data before it sees a batch. The true labels are not on it.

    Args:
        num_classes: K.
        num_train: N, rows of the original training set, held-out rows included.
        train_rows: (M,) int64 rows that may be trained on with their given labels.
        given_target: (N,) int64 given labels; -1 in held-out, trusted and unlabeled rows.
        class_names: K names.
        batch_size: samples a batch over all ranks.
        seed: the run's seed; every random draw of training is keyed by it.
        num_val: held-out rows to validate on.
        trusted_rows: (T,) int64 rows whose label is known to be right, one class after the other in turn; none of them is in
            `train_rows`, and a batch that names them has the trusted labels.
        trusted_target: (T,) int64 these labels.
        unlabeled_rows: (U,) int64 rows without a given label that may be trained on, sorted; disjoint from all others. A batch
            that names them has the target -1 there.
        soft_target: (N, K) float32, a distribution over the classes for each of `train_rows`, of which the given target is the
            largest: what several annotators said of it. 0 in all other rows; `None` where labels are classes.
        memory_limit: GiB of what is remembered of all samples that the host's memory may hold, see `SampleMemory.allocate`;
            `None` for half of the machine's memory.
    """

    num_classes: int
    num_train: int
    train_rows: Tensor
    given_target: Tensor
    class_names: tuple[str, ...]
    batch_size: int
    seed: int
    num_val: int = 0
    trusted_rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    trusted_target: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    unlabeled_rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    soft_target: Tensor | None = None
    memory_limit: float | None = None


class ScoredRows(Protocol):
    """What the scoring pass needs of a data module."""

    @property
    def info(self) -> DataInfo:
        """What methods may know."""
        ...

    def evaluation_batches(self, rows: Tensor, device: torch.device) -> Iterable[EvalBatch]:
        """Batches of training rows in the evaluation view, in the order of `rows`."""
        ...
