"""Networks that start from the weights of an earlier run."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, ToyData, fit
from torch import Tensor

from noisylab.checkpoints.warm_start import WarmStart, warm_start
from noisylab.methods import CrossEntropy, DivideMix, ELRPlus
from noisylab.models import MLP, FusionNet, SmallCNN, TorchvisionNet
from noisylab.models.network import Network

HEAD = {"head.weight", "head.bias"}


def saved(method: Any, folder: Path, **stamp: Any) -> Path:
    """A checkpoint with the weights of a method, as far as `warm_start` reads it."""
    about = {"method": type(method).__name__, "num_classes": method.num_classes, "class_names": ["a", "b", "c"]}
    content = {"state_dict": method.state_dict(), "epoch": 4, "noisylab": {**about, "headline": method.headline, **stamp}}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "run.ckpt")
    return folder / "run.ckpt"


def tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: torch.nn.Module, second: torch.nn.Module) -> set[str]:
    """Names of the tensors that two networks have in common."""
    theirs = second.state_dict()
    return {name for name, value in first.state_dict().items() if name in theirs and torch.equal(value, theirs[name])}


def test_everything_is_taken_over_and_counted(tmp_path: Path) -> None:
    old = CrossEntropy(3, partial(SmallCNN, width=4))
    old.networks["network"](torch.randn(5, 1, 8, 8))  # moves the running statistics
    new = CrossEntropy(3, partial(SmallCNN, width=4))
    file = saved(old, tmp_path)
    (started,) = warm_start(new, file)
    assert same(new.networks["network"], old.networks["network"]) == set(old.networks["network"].state_dict())
    assert (started.loaded, started.tensors, started.left, started.epoch) == (26, 26, (), 5)
    assert started.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert new.started_from == [started.record()]
    assert str(started) == f"network: loaded 26 of 26 tensors from 'network' of {file} (CrossEntropy, epoch 5)"


@pytest.mark.parametrize(
    ("classes", "names", "part", "learns", "why"),
    [
        (5, None, None, True, "the shapes differ"),
        (3, ["a", "b", "d"], None, True, "the classes differ"),
        (3, ["a", "b", "c"], "encoder", True, "only the encoder is taken over"),
        (3, ["a", "b", "c"], None, False, "CrossEntropy learns no labels"),
    ],
)
def test_a_head_of_other_labels_is_left_at_its_start(
    tmp_path: Path, classes: int, names: list[str] | None, part: Any, learns: bool, why: str
) -> None:
    old, new = CrossEntropy(3, PlainMLP), CrossEntropy(classes, PlainMLP)
    before = tensors(new.networks["network"])
    (started,) = warm_start(new, WarmStart(str(saved(old, tmp_path, learns_labels=learns)), part=part), names)
    left = {name for name, value in before.items() if torch.equal(value, new.networks["network"].state_dict()[name])}
    assert left == HEAD == set(started.left) and (started.loaded, started.why) == (2, why)
    assert "loaded 2 of 4 tensors from 'network'" in str(started)
    assert str(started).endswith(f"left at their start: head.weight, head.bias ({why})")


def test_all_asks_for_the_head_of_a_pretraining(tmp_path: Path) -> None:
    old, new = CrossEntropy(3, PlainMLP), CrossEntropy(3, PlainMLP)
    (started,) = warm_start(new, WarmStart(str(saved(old, tmp_path, learns_labels=False)), part="all"))
    assert started.left == () and same(new.networks["network"], old.networks["network"]) >= HEAD


def test_one_network_of_a_run_serves_all_or_those_that_are_named(tmp_path: Path) -> None:
    file = str(saved(CrossEntropy(3, PlainMLP), tmp_path))
    both, one = DivideMix(3, PlainMLP), DivideMix(3, PlainMLP)
    warm_start(both, WarmStart(file, part="encoder"))
    encoder = {"body.1.weight", "body.1.bias"}
    assert same(both.networks["first"], both.networks["second"]) == encoder, "one encoder, two heads"
    second = tensors(one.networks["second"])
    warm_start(one, WarmStart(file, networks=["first"]))
    assert all(torch.equal(second[name], value) for name, value in one.networks["second"].state_dict().items())
    assert not same(one.networks["first"], one.networks["second"])


def test_the_networks_of_an_ensemble_go_by_their_names(tmp_path: Path) -> None:
    old, new, single = DivideMix(3, PlainMLP), DivideMix(3, PlainMLP), CrossEntropy(3, PlainMLP)
    file = saved(old, tmp_path)
    warm_start(new, file)
    for name in ("first", "second"):
        assert len(same(new.networks[name], old.networks[name])) == 4
    (first,) = warm_start(single, file)
    assert first.source == "first"
    (second,) = warm_start(single, WarmStart(str(file), source="second"))
    assert second.source == "second" and len(same(single.networks["network"], old.networks["second"])) == 4


def test_averaged_copies_are_sources_and_start_from_what_was_loaded(tmp_path: Path) -> None:
    old, new = ELRPlus(3, PlainMLP), ELRPlus(3, PlainMLP)
    for name in old.networks:
        with torch.no_grad():
            old.averages[name].network.head.bias.fill_(7.0)
    started = warm_start(new, saved(old, tmp_path, headline="ensemble_average"))
    assert [item.source for item in started] == ["first_average", "second_average"]
    for name in new.networks:
        assert (new.networks[name].head.bias == 7).all()
        assert len(same(new.averages[name].network, new.networks[name])) == 4


def test_single_view_runs_start_the_encoders_of_a_fusion(tmp_path: Path) -> None:
    text, image = (
        CrossEntropy(3, partial(MLP, in_features=4, hidden=(6,))),
        CrossEntropy(3, partial(MLP, in_features=2, hidden=(6,))),
    )
    new = CrossEntropy(3, partial(FusionNet, in_features={"text": 4, "image": 2}, hidden=(6,), embedding=5))
    net = new.networks["network"]
    warm_start(new, WarmStart(str(saved(text, tmp_path / "text")), into="encoders.0"))
    (started,) = warm_start(new, WarmStart(str(saved(image, tmp_path / "image")), into="encoders.1"))
    assert same(net.encoders[0].body, text.networks["network"].body) == same(net.encoders[1].body, image.networks["network"].body)
    assert started.left == ("head.weight", "head.bias") and "network.encoders.1: loaded 2 of 4" in str(started)
    assert len(new.started_from) == 2


def test_named_tensors_keep_their_start_in_one_network_or_in_all(tmp_path: Path) -> None:
    file = str(saved(CrossEntropy(3, partial(PlainMLP, hidden=(8, 8))), tmp_path))
    new = DivideMix(3, partial(PlainMLP, hidden=(8, 8)))
    first, second = warm_start(new, WarmStart(file, leave=["second.body.3", "head.bias"]))
    assert first.left == ("head.bias",) and second.left == ("body.3.weight", "body.3.bias", "head.bias")
    with pytest.raises(ValueError, match=r"leave names 'body.9', with which no tensor of the network 'first' begins"):
        warm_start(new, WarmStart(file, leave=["body.9"]))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (partial(PlainMLP, hidden=(9,)), r"differs from 'network' of .* body\.1\.weight has the shape \(9, 2\), there \(8, 2\)"),
        (partial(PlainMLP, hidden=(8, 8)), r"body\.3\.weight is missing there and has the shape \(8, 8\) here"),
        (partial(SmallCNN, width=4), r"no tensor of 'network' of .* fits the network 'network': it has features\.0\.weight"),
    ],
)
def test_other_networks_are_refused_and_nothing_is_changed(tmp_path: Path, network: type[Network], told: str) -> None:
    new = CrossEntropy(3, network)
    before = tensors(new.networks["network"])
    with pytest.raises(ValueError, match=told):
        warm_start(new, saved(CrossEntropy(3, PlainMLP), tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in new.networks["network"].state_dict().items())
    assert new.started_from == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    file, new = str(saved(DivideMix(3, PlainMLP), tmp_path)), CrossEntropy(3, PlainMLP)
    for start, told in (
        (WarmStart(file, source="third"), "source names 'third'; the networks of .* are first, second"),
        (WarmStart(file, networks=["main"]), "networks names 'main'; the networks of CrossEntropy are network"),
        (WarmStart(file, into="tower"), "into='tower' is no part of the network 'network' .*which has body, head"),
        (WarmStart(file, sha256="0" * 64), "has the SHA-256 [0-9a-f]{64}, not 0000"),
    ):
        with pytest.raises(ValueError, match=told):
            warm_start(new, start)
    torch.save({"model": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="was not written by noisylab fit"):
        warm_start(new, tmp_path / "other.ckpt")
    with pytest.raises(FileNotFoundError):
        warm_start(new, tmp_path / "nothing.ckpt")
    with pytest.raises(ValueError, match="run must be"):
        WarmStart(" ")
    with pytest.raises(TypeError, match="networks must be a list"):
        WarmStart(file, networks="first")  # type: ignore[arg-type]


def test_the_last_layer_of_an_outside_network_is_its_head(tmp_path: Path) -> None:
    make = partial(TorchvisionNet, name="shufflenet_v2_x0_5")
    new = CrossEntropy(5, make)
    (started,) = warm_start(new, saved(CrossEntropy(3, make), tmp_path))
    assert started.left == ("net.fc.weight", "net.fc.bias")


def test_a_run_trains_on_from_what_was_loaded_and_keeps_the_record(tmp_path: Path) -> None:
    old = CrossEntropy(3, PlainMLP)
    fit(old, ToyData(), tmp_path / "old", 1)
    checkpoint = torch.load(tmp_path / "old" / "last.ckpt", weights_only=True)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "old" / "last.ckpt").rename(tmp_path / "run" / "checkpoints" / "last.ckpt")
    new = CrossEntropy(3, PlainMLP, optimizer=partial(torch.optim.SGD, lr=0.0))
    (started,) = warm_start(new, tmp_path / "run")
    assert started.epoch == checkpoint["epoch"] + 1 == 1
    fit(new, ToyData(), tmp_path / "new", 1)
    assert len(same(new.networks["network"], old.networks["network"])) == 4
    again = CrossEntropy.load_from_checkpoint(tmp_path / "new" / "last.ckpt")
    assert again.started_from == [started.record()]
