import pytest
import torch
from torch import nn

from noisylab.models import MLP


def kinds(net: MLP) -> list[str]:
    return [type(module).__name__ for module in net.body]


def test_samples_of_any_shape_are_flattened() -> None:
    net = MLP(num_classes=10, in_features=64)
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(net(images), net(images.reshape(2, 64)))
    assert net(images).shape == (2, 10)


def test_number_of_parameters() -> None:
    net = MLP(num_classes=10, in_features=64, hidden=(32, 16))
    assert sum(parameter.numel() for parameter in net.parameters()) == 65 * 32 + 33 * 16 + 17 * 10


def test_no_hidden_layer_makes_a_linear_classifier() -> None:
    net = MLP(num_classes=3, in_features=4, hidden=())
    samples = torch.randn(5, 4)
    torch.testing.assert_close(net(samples), nn.functional.linear(samples, net.head.weight, net.head.bias))


def test_order_within_a_hidden_layer() -> None:
    assert kinds(MLP(2, 4, hidden=(8,))) == ["Flatten", "Linear", "ReLU"]
    net = MLP(2, 4, hidden=(8,), dropout=0.5, batch_norm=True)
    assert kinds(net) == ["Flatten", "Linear", "BatchNorm1d", "ReLU", "Dropout"]


def test_backward_reaches_every_parameter() -> None:
    net = MLP(num_classes=3, in_features=4, hidden=(8, 8), batch_norm=True)
    net(torch.randn(6, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_samples_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in_features=64, got samples of shape \(3, 8, 8\); set in_features=192"):
        MLP(num_classes=10, in_features=64)(torch.zeros(2, 3, 8, 8))


def test_arguments_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="in_features must be at least 1, got 0"):
        MLP(num_classes=2, in_features=0)
    with pytest.raises(ValueError, match=r"hidden must hold widths of at least 1, got \(8, 0\)"):
        MLP(num_classes=2, in_features=4, hidden=(8, 0))
    with pytest.raises(ValueError, match=r"dropout must be a probability in \[0, 1\), got 1"):
        MLP(num_classes=2, in_features=4, dropout=1.0)
