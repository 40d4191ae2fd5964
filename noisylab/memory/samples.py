"""Per-sample tables in which a method keeps what it has learned about the training set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisylab.memory.mapped import half_of_memory, mapped_table
from noisylab.upstream.torch import FollowsDevice

__all__ = ["SampleMemory"]


class SampleMemory(FollowsDevice):
    """Named tables with one row per ORIGINAL training sample, written in place by row number.

    The tables are part of the module's ``state_dict`` and move with it from device to device, but they are neither parameters nor
    buffers: data-parallel training does not broadcast them, a change of precision does not cast them, weight averaging does not
    average them. Under several ranks each rank writes the rows of its own samples, between `watch` and `share`, which brings in
    what the others wrote: all ranks hold the same tables.

    Fields are allocated once the number of samples is known (`allocate`); a checkpoint brings its own sizes.

    >>> memory = SampleMemory()
    >>> memory.add("loss", fill=float("nan"))
    >>> memory.allocate(4)
    >>> memory.write("loss", torch.tensor([2, 0]), torch.tensor([0.5, 0.25]))
    >>> memory["loss"].tolist()
    [0.25, nan, 0.5, nan]
    """

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, tuple[tuple[int, ...], torch.dtype, float]] = {}
        self._tables: dict[str, Tensor] = {}
        self._device = torch.device("cpu")
        self._watched: tuple[Tensor, int, dict[str, Tensor]] | None = None

    def add(self, name: str, *shape: int, dtype: torch.dtype = torch.float32, fill: float = 0.0) -> None:
        """Declare a field.

        Args:
            name: the field.
            *shape: shape of one row; empty for a scalar.
            dtype: float32 for quantities, an integer type for counts, labels and epochs. Half precision is refused.
            fill: value of rows never written.

        Raises:
            ValueError: for a second declaration of a name or a 16-bit float type.
        """
        if name in self._shapes:
            raise ValueError(f"memory field {name!r} is declared twice; choose another name")
        if dtype in (torch.float16, torch.bfloat16):
            raise ValueError(f"memory field {name!r} has dtype {dtype}; memories are kept in float32 or integers")
        self._shapes[name] = (shape, dtype, fill)

    def fields(self) -> dict[str, tuple[tuple[int, ...], torch.dtype, float]]:
        """The declared fields by name: shape of a row, dtype, value of rows never written."""
        return dict(self._shapes)

    def allocate(self, num_train: int, limit: float | None = None, folder: str | Path | None = None) -> None:
        """Create the declared fields for `num_train` samples; fields that have that size keep their rows.

        Args:
            num_train: N.
            limit: GiB of all fields up to which they are in the host's memory; `None` for half of the machine's memory, and no
                limit where the system does not tell it. What is larger lies in a file that is mapped into it, with the same
                values. On a GPU they are in its memory, whatever their size.
            folder: of such a file, see `mapped_table`; `None` keeps them in memory, whatever their size.

        Raises:
            OSError: where a file cannot be made.
        """
        size = sum(num_train * math.prod(shape) * dtype.itemsize for shape, dtype, _ in self._shapes.values())
        most = half_of_memory() if limit is None else limit * 2**30
        mapped = folder is not None and size > most and self._device.type == "cpu"
        for name, (shape, dtype, fill) in self._shapes.items():
            table = self._tables.get(name)
            if table is None or table.shape != (num_train, *shape):
                if mapped and folder is not None:
                    self._tables[name] = mapped_table((num_train, *shape), dtype, fill, folder)
                else:
                    self._tables[name] = torch.full((num_train, *shape), fill, dtype=dtype, device=self._device)

    def reset(self) -> None:
        """Reset all rows to their initial values."""
        for name, table in self._tables.items():
            table.fill_(self._shapes[name][2])

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Set rows `index` (B,) of a field to `values` (B, ...), detached and in the field's own dtype."""
        table = self[name]
        table[index] = values.detach().to(table.dtype)

    def accumulate(self, name: str, index: Tensor, values: Tensor | float) -> None:
        """Add `values` (B, ...) to rows `index` (B,), in the field's own dtype. Each row at most once per call."""
        table = self[name]
        table[index] += values.detach().to(table.dtype) if isinstance(values, Tensor) else values

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """Copies of the rows `index` (B,) of every field."""
        return {name: table[index] for name, table in self._tables.items()}

    def watch(self, index: Tensor, width: int) -> None:
        """Note the rows (B,) that this rank may write in a step, and the largest B; see `gather_rows`."""
        self._watched = index, width, self.rows(index)

    def share(self, all_gather: Callable[[Tensor], Tensor]) -> None:
        """Exchange the changes in the watched rows after a step, if there are any. See `gather_rows`."""
        watched, self._watched = self._watched, None
        if watched is not None:
            index, width, before = watched
            self.gather_rows(index, width, all_gather, before)

    def gather_rows(
        self,
        index: Tensor,
        width: int,
        all_gather: Callable[[Tensor], Tensor],
        before: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Exchange the rows that each rank wrote, after which the tables are equal on all ranks.

        Ranks hold strided shares of the batch: entry i of `index` is position ``rank + ranks * i``. A row that several ranks
        changed in one field is that of the last position, as one process would have left it by writing in the order of the
        batch; a write that left a value as it was is not seen. Where the rows of several streams follow each other, each a
        strided share, positions are the batch's as long as each stream begins at the same entry on all ranks: fill the streams
        up with -1 to their largest share. Without, ranks whose share of a stream is shorter count as earlier in those after it.

        Args:
            index: (B,) rows that this rank may have written, in the order of the batch; -1 is no row.
            width: the largest B over ranks.
            all_gather: maps a tensor to the stack (ranks, ...) of all ranks' tensors.
            before: these rows (`rows`) as they were before, equal on all ranks: only what has changed is taken over; None takes
                all.
        """
        sent = index.new_full((width, 1 + len(self._tables)), -1)
        sent[: len(index), 0] = index
        taken = index >= 0
        for column, (name, table) in enumerate(self._tables.items(), 1):
            sent[: len(index), column] = taken if before is None else taken & _changed(table[index], before[name])
        everyone = _in_batch_order(all_gather(sent))
        rows = everyone[:, 0].clamp(min=0)
        for column, table in enumerate(self._tables.values(), 1):
            theirs = _in_batch_order(all_gather(table[sent[:, 0].clamp(min=0)]))
            # no masks and no repeated writes of unequal values: neither a read-back to the host nor chance
            place = torch.where(everyone[:, column] > 0, torch.arange(len(rows), device=rows.device), -1)
            last = place.new_full((len(table),), -1).scatter_reduce(0, rows, place, "amax")[rows]
            written = (last >= 0).view(-1, *(1,) * (table.ndim - 1))
            table[rows] = torch.where(written, theirs[last.clamp(min=0)], table[rows])

    def __getitem__(self, name: str) -> Tensor:
        """The whole table (N, ...) of a field, not a copy."""
        if name not in self._tables:
            if name in self._shapes:
                raise RuntimeError(
                    f"memory field {name!r} has no rows yet: fields are allocated at the start of fit, or by loading a checkpoint"
                )
            raise KeyError(f"no memory field {name!r}; declared: {', '.join(sorted(self._shapes)) or 'none'}")
        return self._tables[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        """Number of samples, 0 before allocation."""
        return next((len(table) for table in self._tables.values()), 0)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The tables, for ``state_dict``."""
        return dict(self._tables)

    def set_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the tables of a checkpoint, whatever their number of rows.

        Raises:
            ValueError: if the checkpoint's fields are not the declared ones or a row has another shape.
        """
        if set(state) != set(self._shapes) and state:
            raise ValueError(
                f"the checkpoint holds {', '.join(sorted(state))} per sample, this method {', '.join(sorted(self._shapes))}; "
                "load it with the method and the version of noisylab that wrote it"
            )
        for name, table in state.items():
            shape, dtype, _ = self._shapes[name]
            if tuple(table.shape[1:]) != shape:
                raise ValueError(
                    f"memory field {name!r} has rows of shape {tuple(table.shape[1:])} in the checkpoint and {shape} here; "
                    "the number of classes differs"
                )
            mine = self._tables.get(name)
            if mine is not None and mine.shape == table.shape and mine.device == self._device:
                mine.copy_(table)  # in place: it may lie in a file
            else:
                self._tables[name] = table.to(device=self._device, dtype=dtype, copy=True)

    def follow(self, moved: Callable[[torch.device], torch.device]) -> None:
        """Move the tables with the method to its device; their dtype never changes."""
        self._device = moved(self._device)
        self._tables = {name: table.to(self._device) for name, table in self._tables.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> SampleMemory:
        copy = SampleMemory()
        copy._shapes = dict(self._shapes)
        copy._tables = {name: table.clone() for name, table in self._tables.items()}
        copy._device = self._device
        memo[id(self)] = copy
        return copy


def _in_batch_order(shares: Tensor) -> Tensor:
    """Strided shares (ranks, B, ...) one position after the other (B * ranks, ...)."""
    return shares.transpose(0, 1).flatten(0, 1)


def _changed(now: Tensor, before: Tensor) -> Tensor:
    """(B,) bool: rows with a value that differs; NaN equals NaN."""
    same = (now == before) | ((now != now) & (before != before))
    return ~same.flatten(1).all(1) if same.ndim > 1 else ~same
