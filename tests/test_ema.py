from __future__ import annotations

import copy

import pytest
import torch
from helpers import BatchNormMLP, PlainMLP
from torch import nn

from noisylab.ema import AveragedNetwork


def _move(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_average_follows_the_formula() -> None:
    network = PlainMLP(3)
    average = AveragedNetwork(network)
    expected = {name: value.detach().clone().double() for name, value in network.named_parameters()}
    for decay in (0.0, 0.5, 0.9, 0.997):
        _move(network)
        average.update(network, decay)
        for name, value in network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach().double()
    for name, value in average.network.named_parameters():
        torch.testing.assert_close(value.double(), expected[name], rtol=0, atol=1e-6)


def test_average_starts_as_a_copy_and_shares_nothing() -> None:
    network = BatchNormMLP(3)
    average = AveragedNetwork(network)
    before = copy.deepcopy(network.state_dict())
    _move(network)
    network(torch.randn(8, 2))
    for name, value in average.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    inputs = torch.randn(4, 2)
    average.update(network, 0.0, copy_buffers=True)
    assert torch.equal(average.eval()(inputs), network.eval()(inputs))


@pytest.mark.parametrize(("decay", "follows"), [(0.0, True), (1.0, False)])
def test_decay_of_zero_copies_and_of_one_stays(decay: float, follows: bool) -> None:
    network = PlainMLP(3)
    average = AveragedNetwork(network)
    before = [value.detach().clone() for value in network.parameters()]
    _move(network)
    average.update(network, decay)
    wanted = list(network.parameters()) if follows else before
    assert all(torch.equal(value, other) for value, other in zip(average.network.parameters(), wanted, strict=True))


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_impossible_decay_is_refused(decay: float) -> None:
    network = PlainMLP(3)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\]"):
        AveragedNetwork(network).update(network, decay)


def test_average_has_no_gradients_and_leaves_those_of_the_network_alone() -> None:
    network = PlainMLP(3)
    average = AveragedNetwork(network)
    assert not any(value.requires_grad for value in average.parameters())
    assert all(value.requires_grad for value in network.parameters())
    network(torch.randn(4, 2)).sum().backward()
    average.update(network, 0.5)
    assert all(value.grad is not None and value.requires_grad for value in network.parameters())
    assert not any(value.requires_grad for value in average.parameters())


def test_batch_statistics_are_the_averages_own() -> None:
    network = BatchNormMLP(3)
    average = AveragedNetwork(network)
    network(5 + torch.randn(16, 2))
    average.update(network, 0.5)
    untouched = AveragedNetwork(BatchNormMLP(3)).network.state_dict()
    own = dict(average.network.named_buffers())
    assert own and all(torch.equal(value, untouched[name]) for name, value in own.items())
    average(5 + torch.randn(16, 2))
    assert not any(torch.equal(value, untouched[name]) for name, value in average.network.named_buffers())


def test_buffers_are_copied_where_asked() -> None:
    network = BatchNormMLP(3)
    average = AveragedNetwork(network)
    network(5 + torch.randn(16, 2))
    average.update(network, 0.5, copy_buffers=True)
    theirs = dict(network.named_buffers())
    assert all(torch.equal(value, theirs[name]) for name, value in average.network.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float_buffers_are_averaged_where_asked(dtype: torch.dtype) -> None:
    network = BatchNormMLP(3).to(dtype)
    average, again = AveragedNetwork(network), AveragedNetwork(network)
    expected = {name: value.float().clone() for name, value in network.state_dict().items()}
    for step in range(6):
        network(5 + torch.randn(16, 2, dtype=dtype))
        _move(network)
        for each in (average, again) if step >= 3 else (average,):
            each.update(network, 0.9, average_buffers=True)
        for name, value in network.state_dict().items():
            kept = 0.9 if value.is_floating_point() else 0.0  # counters are copied
            expected[name] = kept * expected[name] + (1 - kept) * value.float()
        if step == 2:
            again.load_state_dict(average.state_dict())
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value.float(), expected[name], rtol=8e-3 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)
        assert torch.equal(again.network.state_dict()[name], value), name


def test_tied_weights_stay_tied() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    average = AveragedNetwork(network)
    _move(network)
    average.update(network, 0.5)
    inner = average.network
    assert isinstance(inner, nn.Sequential) and inner[0].weight is inner[1].weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_steps_are_not_rounded_away_in_16_bits(dtype: torch.dtype) -> None:
    network = nn.Linear(1, 1, bias=False, dtype=dtype)
    nn.init.constant_(network.weight, 1.0)
    average = AveragedNetwork(network)
    nn.init.constant_(network.weight, 1.25)
    for _ in range(2000):
        average.update(network, 0.999)
    assert average.network.weight.dtype == dtype
    assert float(average.network.weight) == pytest.approx(1.25 - 0.25 * 0.999**2000, abs=5e-3)


def test_float32_values_of_16_bit_weights_survive_a_checkpoint_and_a_change_of_type() -> None:
    torch.manual_seed(0)
    network = PlainMLP(3).to(torch.bfloat16)
    average, again = AveragedNetwork(network), AveragedNetwork(PlainMLP(3).to(torch.bfloat16))
    _move(network)
    average.update(network, 0.9)
    average.to(torch.bfloat16)
    again.load_state_dict(average.state_dict())
    for _ in range(3):
        _move(network)
        for each in (average, again):
            each.update(network, 0.99)
    found, expected = again.state_dict(), average.state_dict()
    assert [value.dtype for value in expected["_extra_state"]] == [torch.float32] * 4
    for place, value in enumerate(expected.pop("_extra_state")):
        assert torch.equal(found["_extra_state"][place], value)
        assert not torch.equal(value, value.bfloat16().float())
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_wide_weights_are_kept_once() -> None:
    network = PlainMLP(3)
    average = AveragedNetwork(network)
    average.update(network, 0.5)
    assert average.state_dict()["_extra_state"] == []
    average.load_state_dict(average.state_dict())
    average.double().update(network.double(), 0.5)
    assert average.state_dict()["_extra_state"] == []
