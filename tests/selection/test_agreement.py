from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from noisylab.selection import asymmetric_agreement

C0 = torch.tensor([0, 1, 2, 3, 1, 0])
C1 = torch.tensor([0, 2, 2, 1, 1, 3])
Y = torch.tensor([0, 1, 0, 1, 1, 2])


def _slow(c0: Tensor, c1: Tensor, y: Tensor, variant: str, threshold: float, mining: bool) -> list[bool]:
    """The authors' rule, a sample at a time, accuracies in percent."""
    pairs = list(zip(c0.tolist(), c1.tolist(), y.tolist(), strict=True))
    a0 = 100 * sum(a == t for a, _, t in pairs) / len(pairs)
    a1 = 100 * sum(b == t for _, b, t in pairs) / len(pairs)
    gate = mining and a0 != 0 and (a1 - a0) / a0 < threshold
    if variant == "cifar":
        return [b == t if gate else a == t and b == t for a, b, t in pairs]
    return [a == t or b == t if gate else a == t for a, b, t in pairs]


@pytest.mark.parametrize(
    ("variant", "mining", "expected"),
    [
        ("cifar", True, [1, 0, 0, 1, 1, 0]),
        ("cifar", False, [1, 0, 0, 0, 1, 0]),
        ("web", True, [1, 1, 0, 1, 1, 0]),
        ("web", False, [1, 1, 0, 0, 1, 0]),
    ],
)
def test_selection_of_six_samples(variant: Literal["cifar", "web"], mining: bool, expected: list[int]) -> None:
    assert asymmetric_agreement(C0, C1, Y, variant=variant, mining=mining).int().tolist() == expected


@pytest.mark.parametrize("variant", ["cifar", "web"])
def test_agrees_with_the_authors_rule(variant: Literal["cifar", "web"]) -> None:
    open_gates = 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        size = int(torch.randint(1, 41, (1,), generator=generator))
        c0, c1, y = torch.randint(3, (3, size), generator=generator)
        for threshold in (0.025, 0.31, -0.11):  # never met exactly
            expected = _slow(c0, c1, y, variant, threshold, mining=True)
            found = asymmetric_agreement(c0, c1, y, threshold=threshold, variant=variant)
            assert found.tolist() == expected, (seed, threshold)
            open_gates += expected != _slow(c0, c1, y, variant, threshold, mining=False)
    assert open_gates > 50, "both sides of the gate were seen"


def test_gate_is_closed_on_the_threshold() -> None:
    # 40 right against 41 right of 50: the excess is exactly 0.025
    y = torch.zeros(50, dtype=torch.int64)
    c0, c1 = (torch.arange(50) >= 40).long(), (torch.arange(50) >= 41).long()
    assert int(asymmetric_agreement(c0, c1, y, threshold=0.025).sum()) == 40
    assert int(asymmetric_agreement(c0, c1, y, threshold=0.0251).sum()) == 41


@pytest.mark.parametrize("variant", ["cifar", "web"])
def test_all_wrong_batch_selects_nothing(variant: Literal["cifar", "web"]) -> None:
    wrong = torch.ones(5, dtype=torch.int64)
    assert not bool(asymmetric_agreement(wrong, wrong, torch.zeros_like(wrong), variant=variant).any())


def test_robust_network_that_is_all_wrong_closes_the_gate() -> None:
    y = torch.zeros(4, dtype=torch.int64)
    assert not bool(asymmetric_agreement(torch.ones_like(y), y, y, variant="cifar").any())


def test_gate_sees_the_whole_batch_of_all_ranks() -> None:
    # alone this rank would open the gate (1 against 1); the other rank's 0 against 3 closes it
    y = torch.tensor([0, 0])
    c0, c1 = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert asymmetric_agreement(c0, c1, y).tolist() == [False, True]
    other = torch.tensor([0, 3])
    assert asymmetric_agreement(c0, c1, y, sum_over_ranks=lambda hits: hits + other).tolist() == [False, False]
