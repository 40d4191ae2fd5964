"""Batch normalization over the whole batch of two processes, and DDP without a search for unused parameters."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, assert_same
from helpers.ranks import run
from helpers.sync_ranks import SYNCHRONIZED, plain_methods, synchronized_run
from torch import nn

from noisylab.engine.ranks import may_leave_out
from noisylab.engine.sync_norm import SyncNorm, WholeBatchNorm
from noisylab.methods import ELR, CoTeaching, CrossEntropy, VolMinNet

_TESTS = Path(__file__).parents[1]


def test_layers_stay_the_objects_that_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(4)))
    layer, weight, keys = network[1], network[1].weight, list(network.state_dict())
    assert SyncNorm().apply(network) is network
    assert network[1] is layer and layer.weight is weight and list(network.state_dict()) == keys
    assert isinstance(layer, WholeBatchNorm | nn.BatchNorm2d) and isinstance(network[2][0], WholeBatchNorm)
    SyncNorm().revert(network)
    assert type(network[1]) is nn.BatchNorm2d and type(network[2][0]) is nn.BatchNorm1d


def test_with_one_process_it_is_torchs_normalization() -> None:
    inputs, plain, whole = torch.randn(5, 3, 4, 4), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))
    SyncNorm().apply(whole)
    assert torch.equal(plain(inputs), whole(inputs)) and torch.equal(plain.running_var, whole[0].running_var)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.BatchNorm2d(3, momentum=None), nn.BatchNorm1d(3, affine=False)])
def test_its_own_arithmetic_is_that_of_torch(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # two ranks of which the other has no sample: the sum over the ranks is one's own
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    plain, whole = type(layer)(3, momentum=layer.momentum, affine=layer.affine), nn.Sequential(layer)
    SyncNorm().apply(whole)
    shape = (6, 3) if isinstance(layer, nn.BatchNorm1d) else (6, 3, 2, 2)
    for _ in range(2):
        first = torch.randn(shape, requires_grad=True)
        second, weight = first.detach().clone().requires_grad_(), torch.randn(shape)
        (plain(first) * weight).sum().backward()
        (whole(second) * weight).sum().backward()
        torch.testing.assert_close(second.grad, first.grad, rtol=0, atol=1e-5)
        torch.testing.assert_close(whole(second), plain(first), rtol=0, atol=1e-5)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=1e-6)


def test_only_methods_that_may_leave_parameters_out_have_ddp_look_for_them() -> None:
    network = PlainMLP
    assert not may_leave_out(CrossEntropy(3, network)) and not may_leave_out(ELR(3, network))
    assert may_leave_out(CoTeaching(3, network)) and may_leave_out(VolMinNet(3, network))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pair of processes left."""
    folder = tmp_path_factory.mktemp("sync")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS.parent), str(_TESTS)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "helpers.sync_ranks"]
    pair = [
        subprocess.Popen(
            [*command, str(rank), str(port), str(folder)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=600)[0].decode()[-3000:] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(said)
    return folder


def _load(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


def _largest_difference(first: dict[str, Any], second: dict[str, Any]) -> float:
    assert list(first) == list(second)
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYNCHRONIZED)
def test_two_processes_with_it_give_the_answer_of_one(name: str, folder: Path, tmp_path: Path) -> None:
    first, second = (_load(folder / f"sync-{name}-{rank}.pt") for rank in (0, 1))
    for part in ("networks", "memory", "curves", "step"):
        assert_same(second[part], first[part], part)
    one = synchronized_run(name, tmp_path)
    assert any("running_var" in key for key in one["networks"]) and one["step"] == first["step"]
    if not one["draws"]:
        assert _largest_difference(first["networks"], one["networks"]) < 1e-5
        assert (
            _largest_difference(
                {"x": first["memory"]["observed_loss"].nan_to_num()}, {"x": one["memory"]["observed_loss"].nan_to_num()}
            )
            < 1e-5
        )


@pytest.mark.slow
def test_plain_methods_train_alike_without_the_search(folder: Path, tmp_path: Path) -> None:
    assert {"ce", "elr"} <= set(plain_methods())
    for name in plain_methods():
        found, one = _load(folder / f"plain-{name}-0.pt"), run(name, tmp_path / name)
        if not one["draws"]:
            assert _largest_difference(found["networks"], one["networks"]) < 1e-5, name
