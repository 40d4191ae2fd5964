from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import PlainMLP
from torch.optim import SGD

from noisylab.models import MLP
from noisylab.models.network import Network
from noisylab.specs import Factory, as_factory, plain

_SPEC = {"class_path": "noisylab.models.mlp.MLP", "init_args": {"in_features": 4, "hidden": [6]}}


class Nested:
    """Holds a class of its own."""

    class Inner(PlainMLP):
        """Named Nested.Inner."""


def _load(value: Any, tmp_path: Path) -> Any:
    torch.save(value, tmp_path / "spec.pt")
    return torch.load(tmp_path / "spec.pt", weights_only=True)


@pytest.mark.parametrize(
    "given",
    [
        partial(MLP, in_features=4, hidden=(6,)),
        _SPEC,
        {"class_path": "noisylab.models.MLP", "init_args": {"in_features": 4, "hidden": [6]}},
        Factory(MLP, {"in_features": 4, "hidden": (6,)}),
        partial(lambda cls, *args, **kwargs: cls(*args, **kwargs), MLP, in_features=4, hidden=[6]),  # as jsonargparse gives it
    ],
)
def test_every_form_gives_the_same_spec_and_network(given: Any, tmp_path: Path) -> None:
    factory = as_factory(given, Network, "network")
    assert factory.spec() == _SPEC
    again = as_factory(_load(factory.spec(), tmp_path), Network, "network")
    assert again == factory and hash(again) == hash(factory)
    network = again(3)
    assert isinstance(network, MLP) and network(torch.zeros(2, 4)).shape == (2, 3)
    assert next(network.parameters()).shape == (6, 4)


def test_a_bare_class_needs_no_arguments() -> None:
    factory = as_factory(PlainMLP, Network, "network")
    assert factory.spec() == {"class_path": "helpers.toy.PlainMLP"}
    assert factory(3).num_classes == 3


def test_arguments_of_the_call_go_before_those_of_the_spec() -> None:
    optimizer = as_factory(partial(SGD, lr=0.1), torch.optim.Optimizer, "optimizer")([torch.zeros(1)], lr=0.2)
    assert optimizer.param_groups[0]["lr"] == 0.2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda classes: MLP(classes, 4), "A lambda or function cannot be stored"),
        (partial(lambda classes: MLP(classes, 4)), "must be a Network class, or functools.partial"),
        (partial(MLP, 3), "must be a Network class"),
        (MLP(3, 4), "got an instance of MLP"),
        (SGD, "must derive from noisylab.models.network.Network, got SGD"),
        ({"class_path": "noisylab.models.Missing"}, "which cannot be imported"),
        ({"class_path": "no_such_package.Net"}, "which cannot be imported"),
        ({"class_path": "MLP"}, "which cannot be imported"),
        ({}, "which cannot be imported"),
        ({"class_path": "noisylab.specs.as_factory"}, "must derive from"),
        (7, "must be a Network class"),
    ],
)
def test_what_a_checkpoint_cannot_rebuild_is_refused(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^network .*{message}"):
        as_factory(value, Network, "network")


def test_local_class_is_refused() -> None:
    class Local(PlainMLP):
        pass

    with pytest.raises(TypeError, match=r"local class .*define it at the top of a module"):
        as_factory(Local, Network, "network")


def test_class_within_a_class_is_found_again() -> None:
    factory = as_factory(Nested.Inner, Network, "network")
    assert as_factory(factory.spec(), Network, "network") == factory


def test_plain_values_load_without_pickle(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "b": ("x", {"c": Factory(MLP, {"in_features": 2})})}
    found = plain(value, "argument")
    mlp = {"class_path": "noisylab.models.mlp.MLP", "init_args": {"in_features": 2}}
    assert found == {"a": [1, 2.5, None, True], "b": ["x", {"c": mlp}]}
    assert _load(found, tmp_path) == found


def test_numpy_floats_become_floats(tmp_path: Path) -> None:
    found = plain([np.float64(0.5), np.str_("a")], "lr")
    assert [type(item) for item in found] == [float, str]
    assert _load(found, tmp_path) == [0.5, "a"]


@pytest.mark.parametrize("value", [torch.zeros(2), np.float32(0.5), Path(), {1, 2}, object()])
def test_value_without_a_plain_form_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match=r"argument optimizer\.lr is .*cannot store"):
        plain({"lr": value}, "optimizer")
