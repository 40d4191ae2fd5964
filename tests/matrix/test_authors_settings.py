"""What the CIFAR recipes of the selection methods must have in common with the authors' code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.registry import locate


def _network(name: str, classes: int) -> nn.Module:
    network = compose([name], []).config["model"]["init_args"]["network"]
    built: nn.Module = locate(network["class_path"])(classes, **network["init_args"])
    return built


def _data(name: str) -> Any:
    data = compose([name], []).config["data"]
    arguments = {key: value for key, value in data["init_args"].items() if key in ("normalize", "mean", "std", "padding")}
    return locate(data["class_path"])(**arguments)


def _noise(name: str, row: str | None = None, **other: Any) -> Any:
    given = compose([name], [], row).config["data"]["init_args"]["noise"]
    return locate(given["class_path"])(**{**given["init_args"], **other})


@pytest.mark.parametrize(
    ("name", "classes", "entries"),
    [
        ("coteachingplus_cifar10", 10, 62_006),
        ("coteachingplus_cifar100", 100, 542_478),
        ("jocor_cifar100", 100, 542_478),
        ("jocor_cifar10", 10, 542_478 - 90 * 257),
    ],
)
def test_networks_have_the_size_of_the_authors(name: str, classes: int, entries: int) -> None:
    assert sum(tensor.numel() for tensor in _network(name, classes).state_dict().values()) == entries


@pytest.mark.parametrize("classes", [10, 100])
def test_co_teaching_drops_nothing(classes: int) -> None:
    dropped = [module for module in _network(f"coteaching_cifar{classes}", classes).modules() if isinstance(module, nn.Dropout2d)]
    assert [module.p for module in dropped] == [0, 0]


@pytest.mark.parametrize("method", ["coteaching", "coteachingplus", "jocor"])
@pytest.mark.parametrize("classes", [10, 100])
def test_the_co_teaching_family_sees_pixels_as_they_are(method: str, classes: int) -> None:
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    seen = _data(f"{method}_cifar{classes}").view_set()["eval"](image, None)
    torch.testing.assert_close(seen.flatten(), torch.tensor([0.0, 0.2, 1.0]))


@pytest.mark.parametrize("name", ["l2r_cifar10", "ieg_cifar10"])
def test_reweighting_sees_pixels_from_minus_one_to_one(name: str) -> None:
    image = torch.tensor([0, 255, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(_data(name).view_set()["eval"](image, None).flatten(), torch.tensor([-1.0, 1.0, 1.0]))


@pytest.mark.parametrize("rate", [20, 50, 80, 90])
@pytest.mark.parametrize("classes", [10, 100])
def test_dividemix_redraws_an_exact_share(classes: int, rate: int) -> None:
    kind = _noise(f"dividemix_cifar{classes}", f"sym{rate}", own_class=False)
    targets = torch.arange(classes).repeat(1000 // classes)
    assert int((kind(targets, classes).given_target != targets).sum()) == 10 * rate


def test_dividemix_draws_an_exact_share_of_asymmetric_rows() -> None:
    targets = torch.arange(10).repeat(100)
    kind = _noise("dividemix_cifar10", "asym40", mapping="next")  # where all classes move the share can be counted
    assert int((kind(targets, 10).given_target != targets).sum()) == 400


def test_l2r_leaves_36_percent_wrong_as_the_authors_draws_do() -> None:
    matrix = _noise("l2r_cifar10").transition_matrix(10)
    # theirs: 40 % redrawn among classes 0 to 8: 0.4 * 8/9 of the first nine classes are wrong, 0.4 of the last
    assert float(1 - matrix.diagonal().mean()) == pytest.approx((9 * 0.4 * 8 / 9 + 0.4) / 10) == pytest.approx(0.36)
