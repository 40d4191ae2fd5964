"""Learning rates that fall with the distance from the head, in every method, optimizer and schedule."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PACKAGED, KeepEpoch, ToyData, assert_same, fit
from helpers.packaged import build
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from noisylab.engine.layerrates import FACTOR, check_rates, mark_rates
from noisylab.engine.optimizers import decayed_apart, optimizer_factory
from noisylab.methods import ACT, CoTeaching, CrossEntropy
from noisylab.models.freezing import BorrowedNetwork
from noisylab.noise import Symmetric
from noisylab.schedules import EpochValuesLR

FACTORS = {"0": 0.25, "2": 0.5, "4": 1.0}  # of a decay of one half, by the layer's name


class Layered(BorrowedNetwork):
    """Three linear layers."""

    def __init__(self, num_classes: int, layer_decay: float = 0.5) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, num_classes))
        self.tune("4", layer_decay=layer_decay)


def rates(network: nn.Module, optimizer: Optimizer) -> dict[str, float]:
    """Learning rate by parameter name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(p)]: float(group["lr"]) for group in optimizer.param_groups for p in group["params"] if id(p) in names}


def data() -> ToyData:
    return ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)


def marked() -> Layered:
    torch.manual_seed(0)
    network = Layered(3)
    mark_rates(network)
    return network


@pytest.mark.parametrize("make", [partial(SGD, lr=0.4), partial(Adam, lr=0.4), partial(AdamW, lr=0.4, weight_decay=0.1)])
def test_each_layer_has_half_of_the_rate_of_the_next_and_the_head_comes_first(make: Any) -> None:
    network = marked()
    optimizer = optimizer_factory(make, SGD)(network.parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.2, 0.1]
    assert rates(network, optimizer) == {f"net.{k}.{p}": 0.4 * f for k, f in FACTORS.items() for p in ("weight", "bias")}


def test_groups_of_a_method_keep_their_rates_and_their_decay() -> None:
    network = marked()
    made = optimizer_factory(partial(SGD, lr=0.4, weight_decay=0.1), SGD)(decayed_apart(network.parameters()))
    found = [(group["lr"], group["weight_decay"], [p.ndim for p in group["params"]]) for group in made.param_groups]
    assert found == [(0.4, 0.1, [2]), (0.4, 0.0, [1]), (0.2, 0.1, [2]), (0.2, 0.0, [1]), (0.1, 0.1, [2]), (0.1, 0.0, [1])]
    head, rest = list(network.net[4].parameters()), [p for name, p in network.named_parameters() if not name.startswith("net.4")]
    made = optimizer_factory(partial(SGD, lr=0.4), SGD)([{"params": rest}, {"params": head, "lr": 3.0}])
    assert [group["lr"] for group in made.param_groups] == [3.0, 0.2, 0.1]


def test_a_step_of_sgd_is_shorter_by_the_factor() -> None:
    network = marked()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = optimizer_factory(partial(SGD, lr=0.4), SGD)(network.parameters())
    nn.functional.cross_entropy(network(torch.randn(6, 2)), torch.arange(6) % 3).backward()
    optimizer.step()
    for name, parameter in network.named_parameters():
        expected = before[name] - 0.4 * FACTORS[name.split(".")[1]] * parameter.grad
        torch.testing.assert_close(parameter.detach(), expected)
        assert bool((parameter.grad != 0).any())


def test_without_a_decay_nothing_changes() -> None:
    network = Layered(3, layer_decay=1.0)
    mark_rates(network)
    optimizer = optimizer_factory(partial(SGD, lr=0.4), SGD)(network.parameters())
    assert len(optimizer.param_groups) == 1 and FACTOR not in optimizer.param_groups[0]


def test_schedules_scale_all_layers() -> None:
    network = marked()
    optimizer = optimizer_factory(partial(SGD, lr=0.4), SGD)(network.parameters())
    EpochValuesLR(optimizer, [0.8, 0.1])
    assert [group["lr"] for group in optimizer.param_groups] == [0.8, 0.4, 0.2]
    optimizer = optimizer_factory(partial(SGD, lr=0.4), SGD)(network.parameters())
    schedule = CosineAnnealingLR(optimizer, T_max=2)
    optimizer.step()
    schedule.step()
    torch.testing.assert_close([group["lr"] for group in optimizer.param_groups], [0.2, 0.1, 0.05])


@pytest.mark.parametrize("name", PACKAGED)
def test_every_method_trains_with_the_rates_of_its_network(name: str, tmp_path: Path) -> None:
    method = PACKAGED[name](Layered)
    fit(method, data(), tmp_path, 1)
    found = [{**rates(network, made)} for network in method.networks.values() for made in method.trainer.optimizers]
    found = [by_name for by_name in found if by_name]
    assert found
    for by_name in found:
        for layer, factor in FACTORS.items():
            for part in ("weight", "bias"):
                if f"net.{layer}.{part}" in by_name and "net.4.weight" in by_name:
                    if name == "simclr" and layer != "4":  # whose head, a probe, has a rate of its own
                        expected = by_name["net.2.weight"] * factor / 0.5
                    else:
                        expected = by_name["net.4.weight"] * factor
                    assert by_name[f"net.{layer}.{part}"] == pytest.approx(expected), (layer, part)


RESUMED = {
    "automatic": partial(build, CrossEntropy, optimizer=partial(AdamW, lr=0.01), scheduler=partial(CosineAnnealingLR, T_max=3)),
    "act": partial(build, ACT),
    "two networks": partial(build, CoTeaching),
}


@pytest.mark.parametrize("name", RESUMED)
def test_resume_equals_the_straight_run(name: str, tmp_path: Path) -> None:
    keep = KeepEpoch(0, tmp_path)
    torch.manual_seed(0)
    straight = fit(RESUMED[name](Layered), data(), tmp_path, 3, last=(keep,))
    torch.manual_seed(99)
    again = fit(RESUMED[name](Layered), data(), keep.kept, 3, resume=keep.kept / "last.ckpt")
    assert_same(again, straight)


class Direct(CrossEntropy):
    """Makes its optimizer by hand."""

    def configure_optimizers(self) -> Any:
        return SGD(self.networks.parameters(), lr=0.1)


def test_a_method_that_passes_the_factors_by_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not reach the optimizer: make it by noisylab\.optimizer_factory"):
        fit(Direct(3, Layered), data(), tmp_path, 1)


def test_a_schedule_that_evens_the_rates_is_refused() -> None:
    network = marked()
    optimizer = optimizer_factory(partial(SGD, lr=0.4, momentum=0.9), SGD)(network.parameters())
    check_rates(network, [optimizer])
    OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    with pytest.raises(ValueError, match="the schedule gives all groups of parameters one learning rate"):
        check_rates(network, [optimizer])


def test_a_copy_of_a_method_gets_the_rates_when_it_is_fitted(tmp_path: Path) -> None:
    method = copy.deepcopy(CrossEntropy(3, Layered, optimizer=partial(SGD, lr=0.4)))
    fit(method, data(), tmp_path, 1)
    assert rates(method.networks["network"], method.trainer.optimizers[0])["net.0.weight"] == pytest.approx(0.1)


def test_optimizers_without_a_rate_are_refused() -> None:
    with pytest.raises(ValueError, match="layer_decay needs an optimizer with a learning rate"):
        optimizer_factory(partial(NoRate), SGD)(marked().parameters())
    check_rates(Layered(3), [])  # nothing marked, nothing to say


class NoRate(Optimizer):
    """Has no learning rate."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})
