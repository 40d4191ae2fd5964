"""Every choice that a method offers trains; the arguments are read from its signature."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import DropoutMLP, PlainMLP, ToyData
from helpers.packaged import alternatives, assert_sound, build, method_classes
from helpers.runs import make_trainer

from noisylab.callbacks import Curves
from noisylab.cli.configuration.registry import parameters
from noisylab.methods import NoisyLabelMethod
from noisylab.noise import Symmetric


def _train(method: NoisyLabelMethod, folder: Path) -> None:
    before = {name: value.clone() for name, value in method.networks.named_parameters()}
    curves = Curves()
    make_trainer(folder, 2, (curves,)).fit(method, datamodule=ToyData(noise=Symmetric(0.4), val_fraction=0.1))
    assert_sound(method, curves.rows)
    assert [epoch for epoch, loss in curves.series("train/loss") if math.isfinite(loss)] == [0, 1]
    unchanged = [name for name, value in method.networks.named_parameters() if bool((value == before[name]).all())]
    if not method.trains_encoder:
        unchanged = [name for name in unchanged if ".head." in name]
    # batch normalization takes away a bias before it, which without weight decay may stay as it is
    assert not [name for name in unchanged if not name.endswith(".body.1.bias")]


@pytest.mark.parametrize("cls", [cls for cls in method_classes() if not cls.needs_images])
def test_the_defaults_train(cls: type[NoisyLabelMethod], tmp_path: Path) -> None:
    _train(build(cls, DropoutMLP, toy=False), tmp_path)


@pytest.mark.parametrize(
    ("cls", "argument", "value"),
    [
        pytest.param(cls, argument, value, id=f"{cls.__name__}-{argument}={value}")
        for cls in method_classes()
        if not cls.needs_images
        for argument, value in alternatives(cls)
    ],
)
def test_every_choice_trains(cls: type[NoisyLabelMethod], argument: str, value: Any, tmp_path: Path) -> None:
    try:
        method = build(cls, DropoutMLP, **{argument: value})
    except ValueError as error:
        pytest.skip(f"{cls.__name__} refuses {argument}={value!r} alone: {error}")
    _train(method, tmp_path)


class Starts(L.Callback):
    """How far the weights of the networks move in each epoch, from its first batch on: a stage may begin with new ones."""

    def __init__(self) -> None:
        self.moved: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch.position == 0:
            assert isinstance(pl_module, NoisyLabelMethod)
            self._before = [value.detach().clone() for value in pl_module.networks.parameters()]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        pairs = zip(pl_module.networks.parameters(), self._before, strict=True)
        self.moved.append(max(float((now.detach() - before).abs().max()) for now, before in pairs))


@pytest.mark.parametrize("cls", [cls for cls in method_classes() if "clip_norm" in parameters(cls)])
def test_a_tiny_clip_norm_stops_all_networks(cls: type[NoisyLabelMethod], tmp_path: Path) -> None:
    plain = partial(torch.optim.SGD, lr=0.01)
    given: dict[str, Any] = {name: plain for name in parameters(cls) if name.endswith("optimizer")}
    given |= dict.fromkeys((name for name in parameters(cls) if name.endswith("scheduler")), None)
    given |= dict.fromkeys((name for name in parameters(cls) if name == "state_decay"), 0.0)  # does not go by gradients
    method, starts = build(cls, PlainMLP, **given, clip_norm=1e-9), Starts()
    make_trainer(tmp_path, 3, (starts,)).fit(method, datamodule=ToyData(noise=Symmetric(0.4)))
    assert len(starts.moved) == 3 and max(starts.moved) <= 1e-7, starts.moved
