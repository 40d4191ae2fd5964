"""One pass over training rows in order: no augmentation, eval mode, no gradient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from noisylab.engine.modes import in_mode
from noisylab.engine.precision import cast_inputs
from noisylab.types import EvalBatch, ScoredRows

__all__ = ["score_rows"]


def score_rows(
    networks: nn.Module,
    data: ScoredRows,
    measure: Callable[[EvalBatch], dict[str, Tensor]],
    *,
    rows: Tensor,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    all_gather: Callable[[Tensor], Tensor] | None = None,
    forward_context: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[dict[str, Tensor], Tensor]:
    """Measure something of each sample and return it by original row.

    Every module below `networks` is in eval mode during the pass and back in its own mode after it. Floating-point inputs are
    given in the type of the networks' weights. Ranks share the rows and all receive the whole result.

    Args:
        networks: what is evaluated.
        data: the data module.
        measure: maps a batch to named tensors (B, ...), for instance losses and predictions.
        rows: (M,) original rows to visit, in this order.
        device: where the networks are.
        rank: this process.
        world_size: number of processes.
        all_gather: maps a tensor to the stack (ranks, ...) of all ranks' tensors; needed when `world_size` > 1.
        forward_context: entered for each call of `measure`, and only for that: batches are built outside of it.

    Returns:
        Tables (N, ...) by name, zero where not visited, and the mask (N,) of visited rows, on `device`.

    Raises:
        ValueError: without rows.
    """
    total = data.info.num_train
    if len(rows) == 0:
        raise ValueError("there are no rows to score; name at least one")
    mine = rows[rank::world_size]
    unseen = len(mine) == 0  # more ranks than rows: measure one to know the names and shapes, and leave it out
    parts: dict[str, list[Tensor]] = {}
    visited: list[Tensor] = []
    with torch.no_grad(), in_mode(networks, training=False):
        for batch in data.evaluation_batches(rows[:1] if unseen else mine, device):
            with forward_context():
                measured = measure(cast_inputs(batch, networks))
            for name, values in measured.items():
                parts.setdefault(name, []).append(values)
            visited.append(batch.index)
    index = torch.cat(visited)[: len(mine)]
    columns = {name: torch.cat(values)[: len(mine)] for name, values in parts.items()}
    if world_size > 1:
        assert all_gather is not None
        width = -(-len(rows) // world_size)
        index = all_gather(_pad(index, width, -1)).reshape(-1)
        columns = {n: all_gather(_pad(c, width, 0)).reshape(-1, *c.shape[1:]) for n, c in columns.items()}
        columns = {name: column[index >= 0] for name, column in columns.items()}
        index = index[index >= 0]
    mask = torch.zeros(total, dtype=torch.bool, device=index.device)
    mask[index] = True
    tables = {}
    for name, column in columns.items():
        tables[name] = column.new_zeros(total, *column.shape[1:])
        tables[name][index] = column
    return tables, mask


def _pad(values: Tensor, width: int, fill: int) -> Tensor:
    padded = values.new_full((width, *values.shape[1:]), fill)
    padded[: len(values)] = values
    return padded
