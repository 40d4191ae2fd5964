from __future__ import annotations

import math

import pytest
import torch
from helpers import BatchNormMLP, PlainMLP, assert_same
from torch import nn

from noisylab.best_network import BestNetwork


def _filled(value: float) -> nn.Linear:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


@pytest.mark.parametrize(
    ("scores", "taken"),
    [
        ([0.3, 0.5, 0.5, 0.4], [0, 1]),
        ([0.5, 0.5, 0.6], [0, 2]),
        ([-3.0, -5.0], [0]),
        ([math.nan, 0.0, math.nan], [1]),
    ],
)
def test_the_first_of_the_largest_scores_is_kept(scores: list[float], taken: list[int]) -> None:
    best = BestNetwork(_filled(-1.0))
    assert [epoch for epoch, score in enumerate(scores) if best.offer(_filled(float(epoch)), score, epoch)] == taken
    assert (best.score, best.epoch) == (scores[taken[-1]], taken[-1])
    network = _filled(9.0)
    best.restore(network)
    assert network.bias.item() == taken[-1] and bool((network.weight == taken[-1]).all())


def test_the_copy_is_apart_from_the_network() -> None:
    network = BatchNormMLP(3)
    best = BestNetwork(network)
    best.offer(network, 0.5, epoch=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = list(network.parameters())
    network(torch.randn(16, 2))  # moves the batch statistics
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1.0)
    assert not any(parameter.requires_grad for parameter in best.parameters())
    best.restore(network)
    assert_same(dict(network.state_dict()), before)
    assert all(one is other and one.requires_grad for one, other in zip(network.parameters(), parameters, strict=True))
    assert best.network.training == network.training


def test_shared_weights_stay_shared() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    network.append(network[0])
    best = BestNetwork(network)
    assert best.network[0].weight is best.network[2].weight  # type: ignore[index]
    assert best.network[0].weight is not network[0].weight  # type: ignore[index]


@pytest.mark.parametrize("scores", [[], [math.nan, -math.inf]])
def test_there_is_nothing_to_restore_before_the_first_score(scores: list[float]) -> None:
    best = BestNetwork(PlainMLP(3))
    assert not any(best.offer(PlainMLP(3), score, epoch) for epoch, score in enumerate(scores))
    with pytest.raises(ValueError, match="no epoch was scored"):
        best.restore(PlainMLP(3))


def test_after_a_reset_any_score_is_the_best() -> None:
    best = BestNetwork(_filled(0.0))
    best.offer(_filled(1.0), 0.9, epoch=3)
    best.reset()
    with pytest.raises(ValueError, match="no epoch was scored"):
        best.restore(_filled(0.0))
    assert best.offer(_filled(2.0), 0.1, epoch=4)
    assert best.network.bias.item() == 2.0  # type: ignore[union-attr]


def test_score_and_epoch_are_part_of_the_state() -> None:
    best, again = BestNetwork(_filled(0.0)), BestNetwork(_filled(5.0))
    best.offer(_filled(1.0), 0.7, epoch=2)
    again.load_state_dict(best.state_dict())
    assert (again.score, again.epoch) == (0.7, 2) and again.network.bias.item() == 1.0  # type: ignore[union-attr]
    assert not again.offer(_filled(3.0), 0.7, epoch=3)
    again.load_state_dict(BestNetwork(_filled(0.0)).state_dict())
    assert (again.score, again.epoch) == (-math.inf, -1)
