from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisylab.engine.interleaving import group_bounds, interleave


def _reference(chunks: list[Tensor]) -> list[Tensor]:
    """As the authors' code has it, row by row."""
    size, others = len(chunks[0]), len(chunks) - 1
    sizes = [size // (others + 1)] * (others + 1)
    for place in range(size - sum(sizes)):
        sizes[-place - 1] += 1
    bounds = [sum(sizes[:place]) for place in range(others + 2)]
    out = [chunk.clone() for chunk in chunks]
    for group in range(1, others + 1):
        for row in range(bounds[group], bounds[group + 1]):
            out[0][row], out[group][row] = chunks[group][row].clone(), chunks[0][row].clone()
    return out


def test_groups_by_hand() -> None:
    assert group_bounds(8, 3) == [0, 2, 5, 8]
    assert group_bounds(64, 3) == [0, 21, 42, 64]


def test_chunks_by_hand() -> None:
    rows = torch.cat([torch.arange(8) + start for start in (0, 10, 20)])
    swapped = interleave(rows, 8)
    assert isinstance(swapped, Tensor)
    assert swapped[:8].tolist() == [0, 1, 12, 13, 14, 25, 26, 27]
    assert swapped[8:16].tolist() == [10, 11, 2, 3, 4, 15, 16, 17]
    assert swapped[16:].tolist() == [20, 21, 22, 23, 24, 5, 6, 7]


@pytest.mark.parametrize(("size", "chunks"), [(8, 3), (20, 6), (5, 4), (2, 5), (7, 1)])
def test_interleaving_is_the_authors_and_its_own_inverse(size: int, chunks: int) -> None:
    rows = torch.randn(size * chunks, 2, generator=torch.Generator().manual_seed(0))
    swapped = interleave(rows, size)
    assert isinstance(swapped, Tensor) and torch.equal(swapped, torch.cat(_reference(list(rows.split(size)))))
    again = interleave(swapped, size)
    assert isinstance(again, Tensor) and torch.equal(again, rows)


def test_what_is_left_over_stays_at_the_end_and_dicts_are_swapped_alike() -> None:
    views = {"a": torch.arange(11), "b": torch.arange(11)[:, None] * 2}
    swapped = interleave(views, 4)
    assert isinstance(swapped, dict)
    assert swapped["a"].tolist() == [0, 1, 6, 7, 4, 5, 2, 3, 8, 9, 10]
    assert torch.equal(swapped["b"][:, 0], 2 * swapped["a"])
