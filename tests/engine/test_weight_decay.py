from __future__ import annotations

import pytest
import torch
from torch import nn

from noisylab.ema import AveragedNetwork
from noisylab.engine.weight_decay import shrink_state


def test_average_and_decay_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = AveragedNetwork(network)
    nn.init.constant_(network.weight, 1.0)
    nn.init.constant_(average.network.weight, 0.0)  # type: ignore[arg-type]
    for _ in range(2):  # steps without a gradient
        average.update(network, 0.999, average_buffers=True)
        shrink_state(network, 0.02 * 0.002)
    assert average.network.weight.item() == pytest.approx(0.00199896, abs=1e-8)  # type: ignore[operator, union-attr]
    assert network.weight.item() == pytest.approx(0.99992, abs=2e-9)


def test_batch_statistics_shrink_and_counters_do_not() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network(torch.randn(4, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shrink_state(network, 0.5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] * (1 if "num_batches" in name else 0.5)), name
    shrink_state(network, 0.0)
    assert torch.equal(network[0].weight, before["0.weight"] * 0.5)


def test_tied_weights_shrink_once() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    nn.init.constant_(network[0].weight, 1.0)
    shrink_state(network, 0.25)
    assert bool((network[1].weight == 0.75).all())


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\)"):
        shrink_state(nn.Linear(1, 1), share)
