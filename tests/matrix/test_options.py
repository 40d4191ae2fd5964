"""Every choice that a method offers trains; the arguments are read from its signature."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import DropoutMLP, PlainMLP, ToyData
from helpers.packaged import alternatives, assert_sound, build, method_classes
from helpers.runs import make_trainer

from noisylab.callbacks import Curves
from noisylab.cli.registry import parameters
from noisylab.methods import NoisyLabelMethod
from noisylab.noise import Symmetric


def _train(method: NoisyLabelMethod, folder: Path) -> None:
    before = {name: value.clone() for name, value in method.networks.named_parameters()}
    curves = Curves()
    make_trainer(folder, 2, (curves,)).fit(method, datamodule=ToyData(noise=Symmetric(0.4), val_fraction=0.1))
    assert_sound(method, curves.rows)
    assert [epoch for epoch, loss in curves.series("train/loss") if math.isfinite(loss)] == [0, 1]
    unchanged = [name for name, value in method.networks.named_parameters() if bool((value == before[name]).all())]
    assert not unchanged


@pytest.mark.parametrize("cls", method_classes())
def test_the_defaults_train(cls: type[NoisyLabelMethod], tmp_path: Path) -> None:
    _train(build(cls, DropoutMLP, toy=False), tmp_path)


@pytest.mark.parametrize(
    ("cls", "argument", "value"),
    [
        pytest.param(cls, argument, value, id=f"{cls.__name__}-{argument}={value}")
        for cls in method_classes()
        for argument, value in alternatives(cls)
    ],
)
def test_every_choice_trains(cls: type[NoisyLabelMethod], argument: str, value: Any, tmp_path: Path) -> None:
    try:
        method = build(cls, DropoutMLP, **{argument: value})
    except ValueError as error:
        pytest.skip(f"{cls.__name__} refuses {argument}={value!r} alone: {error}")
    _train(method, tmp_path)


@pytest.mark.parametrize("cls", [cls for cls in method_classes() if "clip_norm" in parameters(cls)])
def test_a_tiny_clip_norm_stops_all_networks(cls: type[NoisyLabelMethod], tmp_path: Path) -> None:
    plain = partial(torch.optim.SGD, lr=0.01)
    given = {"optimizer": plain, "clip_norm": 1e-9, **({"scheduler": None} if "scheduler" in parameters(cls) else {})}
    method = build(cls, PlainMLP, **given)
    before = {name: value.clone() for name, value in method.networks.named_parameters()}
    make_trainer(tmp_path, 2).fit(method, datamodule=ToyData(noise=Symmetric(0.4)))
    for name, value in method.networks.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-7)
