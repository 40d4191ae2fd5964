from __future__ import annotations

import pytest
import torch

from noisylab.transforms.partners import partners_among


@pytest.mark.parametrize("kept", [[1, 0, 1, 1, 0, 0, 1], [1, 1, 1], [0, 0, 0], [1], [0, 1]])
def test_partners_are_a_permutation_of_each_side(kept: list[int]) -> None:
    mask, seen = torch.tensor(kept) > 0, set()
    torch.manual_seed(0)
    for _ in range(60):
        order = partners_among(mask)
        assert order.sort().values.tolist() == list(range(len(kept)))
        assert bool((mask[order] == mask).all())
        seen |= {(row, int(partner)) for row, partner in enumerate(order)}
    assert seen == {(a, b) for a in range(len(kept)) for b in range(len(kept)) if kept[a] == kept[b]}


def test_where_all_are_kept_it_is_one_permutation_of_torch() -> None:
    torch.manual_seed(4)
    found = partners_among(torch.ones(9, dtype=torch.bool))
    torch.manual_seed(4)
    assert torch.equal(found, torch.randperm(9))
