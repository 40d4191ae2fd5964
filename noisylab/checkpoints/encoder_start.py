"""What the encoders of a `FusionNet` start from: a network that another run trained on one view of the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from noisylab.models.fusion import FusionNet
from noisylab.models.mlp import MLP

__all__ = ["check_same_data", "encoder_tensors", "fusion_of"]


def fusion_of(networks: nn.ModuleDict, name: str) -> FusionNet:
    """The network of a method that has encoders.

    Args:
        networks: of the method.
        name: of one of them.

    Raises:
        ValueError: it is no `FusionNet`.
    """
    network = networks[name]
    if not isinstance(network, FusionNet):
        raise ValueError(  # noqa: TRY004
            f"encoders start a FusionNet, but the network {name!r} is a {type(network).__name__}; choose a FusionNet, or "
            "start the whole network by init_from"
        )
    return network


def check_same_data(theirs: Mapping[str, Any], ours: Mapping[str, Any] | None, run: str) -> None:
    """Refuse encoders that were trained on other rows or labels, which may be the new run's test rows.

    Args:
        theirs: record of the run's data, see `noisylab.checkpoints.stamp.data_stamp`.
        ours: of the new data; None compares nothing.
        run: for the message.

    Raises:
        ValueError: for other labels or training rows.
    """
    if ours is not None and theirs.get("labels") != ours["labels"]:
        raise ValueError(
            f"{run} was trained on other labels or rows than this run: the data set, the noise, its seed, the held-out rows or "
            "the fold differ. Train the encoder with the data of this run and one view alone, or, if it may know all rows, start "
            "it by init_from and into, which compare no data"
        )


def encoder_tensors(
    checkpoint: Mapping[str, Any], tensors: Mapping[str, Tensor], view: str, encoder: nn.Module, run: str
) -> tuple[dict[str, Tensor], bool]:
    """The tensors for one encoder, and whether its last layer is among them: that of a single-view run tells classes apart.

    Args:
        checkpoint: of the run.
        tensors: of the run's network.
        view: that the encoder reads.
        encoder: to be started.
        run: for messages.

    Raises:
        ValueError: the run is of another view, or of another network.
    """
    spec = checkpoint.get("hyper_parameters", {}).get("network")
    path, given = (spec.get("class_path"), spec.get("init_args") or {}) if isinstance(spec, Mapping) else (None, {})
    stated = tuple(checkpoint["noisylab"].get("fitted", {}).get("views", ()))
    found, whole = dict(tensors), False
    if path == _path(FusionNet):
        others = given.get("encoders") or {}
        stated = (*(given.get("in_features") or {}), *others)
        path = others.get(view, {}).get("class_path", _path(MLP))
        prefix = f"encoders.{stated.index(view)}." if view in stated else "-"
        found, whole = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}, True
    if stated and view not in stated:
        raise ValueError(f"{run} was trained on the view {', '.join(stated)}, not on {view!r}; give the run of that view")
    if path is not None and path != _path(type(encoder)):
        raise ValueError(
            f"{run} has the network {path.rpartition('.')[2]} for the view {view!r}, but its encoder here is a "
            f"{type(encoder).__name__}; give both the same network"
        )
    return found, whole


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
