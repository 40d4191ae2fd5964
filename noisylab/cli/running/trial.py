"""Checks that the networks accept the data before a run folder is created."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisylab.cli.configuration.registry import parameters
from noisylab.cli.errors import UserError, short
from noisylab.cli.running.app import App
from noisylab.data.base import NoisyDataModule
from noisylab.data.sample import one_sample
from noisylab.engine.modes import in_mode
from noisylab.models.fusion import FusionNet
from noisylab.types import Inputs

__all__ = ["check_networks"]


def check_networks(app: App) -> None:
    """Pass one sample through every network of a method, in eval mode and without gradients.

    Weights, batch statistics and random state are the same afterwards.

    Args:
        app: instantiated, its data set up.

    Raises:
        UserError: for a network that does not take the data, with the argument to set where its class has one.
    """
    data: NoisyDataModule = app.datamodule
    inputs = one_sample(data)
    for name, network in app.model.networks.items():
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), in_mode(network, training=False):
                app.model.checked(network(inputs))
        except Exception as error:
            raise UserError(_why(app, name, inputs, error)) from error


def _why(app: App, name: str, inputs: Inputs, error: Exception) -> str:
    network = app.model.networks[name]
    what = f"the network {type(network).__name__} cannot take a sample of the data, {_shape(inputs)}: {short(error, 3)}"
    if isinstance(error, ValueError | TypeError):
        return what  # the network's own words, which say what to do
    where, spec = "model.network", getattr(app.model, "hparams", {}).get("network")
    if isinstance(network, FusionNet) and isinstance(inputs, dict):
        view = _failing(network, inputs)
        if view is not None:
            network, inputs, where = network.get_submodule(network.encoder_of(view)), inputs[view], f"{where}.encoders.{view}"
            spec = (_given(spec).get("encoders") or {}).get(view)
            which = f"the encoder {type(network).__name__} cannot take the view {view} of a sample"
            what = f"{which}, {_shape(inputs)}: {short(error, 3)}"
    hints = _hints(spec, type(network), inputs)
    if not hints:
        return f"{what}\n  choose a network for such inputs; noisylab fit --help {type(network).__name__} says what it takes"
    return f"{what}\n  set {' and '.join(f'{where}.{key} to {value}' for key, value in hints.items())}"


def _failing(network: FusionNet, inputs: Mapping[str, Tensor]) -> str | None:
    """The first view that its encoder cannot take."""
    for view in network.view_names:
        encoder = network.get_submodule(network.encoder_of(view))
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), in_mode(encoder, training=False):
                encoder(inputs[view])
        except Exception:
            return view
    return None


def _hints(spec: object, network: type, inputs: Inputs) -> dict[str, int]:
    """Arguments of the network, made as `spec` says, that are not as these inputs would need them."""
    if not isinstance(inputs, Tensor):
        return {}
    fitting = {"in_features": inputs[0].numel(), **({"in_channels": inputs.shape[1]} if inputs.ndim == 4 else {})}
    accepted = parameters(network)
    given = _given(spec)
    return {
        key: int(value) for key, value in fitting.items() if key in accepted and given.get(key, accepted[key].default) != value
    }


def _given(spec: object) -> Mapping[str, Any]:
    """The arguments in the specification of a class."""
    return (spec.get("init_args") or {}) if isinstance(spec, Mapping) else {}


def _shape(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        shape = tuple(inputs.shape[1:])
        if len(shape) == 1:
            return f"{shape[0]} numbers"
        several = "s" * (shape[0] > 1)
        return f"{shape[0]} channel{several} of {shape[1]}x{shape[2]}" if len(shape) == 3 else f"shape {shape}"
    return ", ".join(f"{view}: {_shape(rows)}" for view, rows in inputs.items())
