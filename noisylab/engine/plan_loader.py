"""From an epoch plan to batches of rows: one loader for every method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from noisylab.engine.blockorder import RowBlocks, shuffled
from noisylab.transforms.draws import key_from
from noisylab.types import EpochPlan, Phase, PlanBatch, Stream, StreamRows

__all__ = ["PlanLoader", "ResolvedPlan"]


class ResolvedPlan:
    """An `EpochPlan` with its sizes resolved: how many batches, and which rows each holds.

    A last batch of fewer than `min_last` samples joins the one before it: batch normalization cannot train on one sample.

    Args:
        plan: what the method asked for.
        epoch: 0-based epoch, part of every key.
        seed: the run's seed.
        train_rows: (M,) rows that may be trained on; used where a stream names none.
        batch_size: samples a batch over all ranks, where a stream names none.
        min_last: smallest last batch.
        other_rows: (O,) rows that a stream may name besides: trusted and unlabeled ones.
        blocks: in which the rows lie, if their order is to follow them, see `shuffled`.

    Raises:
        ValueError: for an empty stream, a row outside `train_rows` and `other_rows`, finite streams of unequal length, or a
            phase of endless streams without `steps`.
    """

    def __init__(
        self,
        plan: EpochPlan,
        *,
        epoch: int,
        seed: int,
        train_rows: Tensor,
        batch_size: int,
        min_last: int = 2,
        other_rows: Tensor | None = None,
        blocks: RowBlocks | None = None,
    ) -> None:
        self.plan, self.epoch, self.seed = plan, epoch, seed
        self._rows: dict[tuple[int, str], Tensor] = {}
        self._batch_size = batch_size
        self._min_last = min_last
        self._blocks = blocks
        self._orders: dict[tuple[int, str, int], Tensor] = {}
        usable = train_rows if other_rows is None or not len(other_rows) else torch.cat([train_rows, other_rows])
        allowed = torch.zeros(int(usable.max()) + 1 if len(usable) else 1, dtype=torch.bool)
        allowed[usable] = True
        for place, phase in enumerate(plan.phases):
            for name, stream in phase.streams.items():
                rows = train_rows if stream.rows is None else stream.rows.detach().cpu().long()
                where = f"stream {name!r} of phase {phase.name!r} in epoch {epoch}"
                if len(rows) == 0:
                    raise ValueError(f"{where} has no rows; a method must leave an empty stream out of its plan")
                if int(rows.max()) >= len(allowed) or int(rows.min()) < 0 or not bool(allowed[rows].all()):
                    raise ValueError(
                        f"{where} names rows that are held out or do not exist; use info.train_rows, info.unlabeled_rows and "
                        "info.trusted_rows only"
                    )
                self._rows[place, name] = rows
        self.phase_steps = [self._steps(place, phase) for place, phase in enumerate(plan.phases)]
        self.steps = sum(self.phase_steps)

    def _size(self, stream: Stream) -> int:
        return stream.batch_size or self._batch_size

    def _steps(self, place: int, phase: Phase) -> int:
        finite = {
            name: self._batches(len(self._rows[place, name]), self._size(stream))
            for name, stream in phase.streams.items()
            if not stream.endless
        }
        if len(set(finite.values())) > 1:
            raise ValueError(f"phase {phase.name!r} has finite streams of unequal length {finite}; mark all but one endless")
        if not finite and phase.steps is None:
            raise ValueError(f"phase {phase.name!r} has only endless streams; give it steps")
        length = next(iter(finite.values()), None)
        if phase.steps is not None and length is not None and phase.steps > length:
            raise ValueError(f"phase {phase.name!r} asks for {phase.steps} steps but its finite streams last {length}")
        return phase.steps if phase.steps is not None else int(length or 0)

    def _batches(self, rows: int, size: int) -> int:
        whole, rest = divmod(rows, size)
        return whole + (rest >= self._min_last or whole == 0)

    def smallest_share(self, world_size: int) -> int:
        """The least number of samples of a stream's batch that any rank gets."""
        shares = []
        for place, phase in enumerate(self.plan.phases):
            for name, stream in phase.streams.items():
                size, total = self._size(stream), len(self._rows[place, name])
                last = size if stream.endless else total - (self._batches(total, size) - 1) * size
                shares.append(min(size, last) // world_size)
        return min(shares)

    def locate(self, position: int) -> tuple[int, int]:
        """(phase number, step within the phase) of the epoch's batch number `position`."""
        for place, steps in enumerate(self.phase_steps):
            if position < steps:
                return place, position
            position -= steps
        raise IndexError("position is past the end of the epoch")

    def key(self, place: int, name: str) -> int:
        """The key of all draws of a stream in this epoch."""
        return key_from(self.seed, "epoch", self.epoch, "phase", place, self.plan.phases[place].name, "stream", name)

    def _pass(self, place: int, name: str, number: int) -> Tensor:
        """Rows of a stream in the order of its pass `number` (0 but for endless streams)."""
        stream, rows = self.plan.phases[place].streams[name], self._rows[place, name]
        if stream.order == "sequential":
            return rows
        found = self._orders.get((place, name, number))
        if found is None:
            generator = torch.Generator().manual_seed(key_from(self.key(place, name), "order", number))
            found = shuffled(rows, generator, self._blocks)
            self._orders = {k: v for k, v in self._orders.items() if k[:2] != (place, name) or k[2] == number - 1}
            self._orders[place, name, number] = found
        return found

    def rows(self, position: int, name: str) -> tuple[Tensor, Tensor]:
        """(index, sample position) of stream `name` in the epoch's batch `position`, over all ranks."""
        place, step = self.locate(position)
        stream = self.plan.phases[place].streams[name]
        size, total = self._size(stream), len(self._rows[place, name])
        start = step * size
        if stream.endless:
            if stream.order == "sequential":  # where the epoch before stopped: short epochs would never come to the last rows
                start += self.epoch * self.phase_steps[place] * size
            positions = torch.arange(start, start + size)
            parts = [
                self._pass(place, name, number)[positions[positions // total == number] % total]
                for number in range(start // total, (start + size - 1) // total + 1)
            ]
            return torch.cat(parts), positions
        stop = total if step + 1 == self._batches(total, size) else start + size
        return self._pass(place, name, 0)[start:stop], torch.arange(start, stop)

    def batch(self, position: int, rank: int = 0, world_size: int = 1) -> PlanBatch:
        """The rank's share of the epoch's batch number `position`, as rows without views."""
        place, step = self.locate(position)
        phase = self.plan.phases[place]
        streams, share, weight = {}, {}, {}
        for name, stream in phase.streams.items():
            index, positions = self.rows(position, name)
            share[name], weight[name] = math.ceil(len(index) / world_size), len(index) / world_size
            mine = slice(rank, None, world_size)
            streams[name] = StreamRows(index[mine], positions[mine], stream.views, self.key(place, name), self.epoch)
        return PlanBatch(
            phase=phase.name,
            streams=streams,
            epoch=self.epoch,
            position=position,
            last_of_phase=step + 1 == self.phase_steps[place],
            last_of_epoch=position + 1 == self.steps,
            share=share,
            weight=weight,
            step=step,
            steps=self.phase_steps[place],
        )

    def batches(self, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[PlanBatch]:
        """The rank's shares of the epoch's batches from number `start` on, as rows without views."""
        return (self.batch(position, rank, world_size) for position in range(start, self.steps))


class PlanLoader:
    """The training loader of every method: batches of rows, in the order of the current epoch's plan.

    The plan is asked for when the first batch or the length is needed, not before, so that a plan computed at the end of an epoch
    is there; its place in the epoch is the whole of its state. Rank shares are strided slices of the global batch, so a
    checkpoint of one world size continues under another.

    Args:
        resolve: returns the plan of the current epoch.
        rank: this process.
        world_size: number of processes.
        build: optional; maps an iterator of row batches to batches with views.
    """

    def __init__(
        self,
        resolve: Callable[[], ResolvedPlan],
        *,
        rank: int = 0,
        world_size: int = 1,
        build: Callable[[Iterator[PlanBatch]], Iterator[PlanBatch]] | None = None,
    ) -> None:
        self._resolve = resolve
        self._rank, self._world_size = rank, world_size
        self._build = build
        self._restored: tuple[int, int] | None = None
        self._epoch = self._consumed = 0

    def __len__(self) -> int:
        return self._resolve().steps

    def __iter__(self) -> Iterator[PlanBatch]:
        return self._batches()

    def _batches(self) -> Iterator[PlanBatch]:
        # runs at the first `next`, when the epoch is known
        plan = self._resolve()
        start = 0
        if self._restored is not None:
            epoch, position = self._restored
            start = position if epoch == plan.epoch else 0
            self._restored = None
        self._epoch, self._consumed = plan.epoch, start
        rows = plan.batches(start, self._rank, self._world_size)
        for batch in self._build(rows) if self._build is not None else rows:
            self._consumed = batch.position + 1
            yield batch
            del batch  # else its chunk of views would be kept while the next one is built

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its batches that were already delivered."""
        return {"epoch": self._epoch, "position": self._consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved position in its epoch; any other epoch starts at the beginning."""
        self._restored = self._epoch, self._consumed = int(state["epoch"]), int(state["position"])
