from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisylab.models import Network, PreActResNet18, PreActResNet32, ResNet18, ResNet34

FAMILY = pytest.mark.parametrize("kind", [ResNet18, ResNet34, PreActResNet18])


@pytest.mark.parametrize(("kind", "parameters"), [(ResNet18, 11_173_962), (ResNet34, 21_282_122), (PreActResNet18, 11_171_274)])
def test_number_of_parameters(kind: type[Network], parameters: int) -> None:
    with torch.device("meta"):
        net = kind(10)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@FAMILY
def test_the_stem_keeps_the_size_and_three_stages_halve_it(kind: type[Network]) -> None:
    with torch.device("meta"):
        features = kind(10).features
        assert isinstance(features, nn.Sequential)
        assert features[:3](torch.zeros(2, 3, 32, 32)).shape == (2, 64, 32, 32)
        assert features[:-2](torch.zeros(2, 3, 32, 32)).shape == (2, 512, 4, 4)


@FAMILY
def test_forward_and_backward_reach_every_parameter(kind: type[Network]) -> None:
    net = kind(4, in_channels=1)  # type: ignore[call-arg]
    logits = net(torch.randn(2, 1, 8, 8))
    assert logits.shape == (2, 4) and bool(logits.isfinite().all())
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


# ---- PreActResNet32


def test_number_of_parameters_of_the_thin_network_by_hand() -> None:
    def block(width: int, channels: int) -> int:  # two normalizations and two convolutions
        return 2 * width + 9 * width * channels + 2 * channels + 9 * channels * channels

    first = sum(block(*sizes) + sizes[0] * sizes[1] for sizes in ((32, 32), (32, 64), (64, 128)))
    others = 4 * sum(block(channels, channels) for channels in (32, 64, 128))
    expected = 9 * 3 * 32 + first + others + 2 * 128 + 128 * 10 + 10
    with torch.device("meta"):
        net = PreActResNet32(10)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected == 1_861_162
    assert sum(isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) for module in net.modules()) == 31


def test_the_stages_of_the_thin_network_have_five_blocks_and_the_last_two_halve_the_image() -> None:
    with torch.device("meta"):
        features = PreActResNet32(10).features
        assert isinstance(features, nn.Sequential) and len(features) == 1 + 15 + 4
        hidden, shapes = torch.zeros(2, 3, 32, 32), []
        for module in features[:16]:
            hidden = module(hidden)
            shapes.append(tuple(hidden.shape[1:]))
    assert shapes == [(32, 32, 32)] * 6 + [(64, 16, 16)] * 5 + [(128, 8, 8)] * 5


@pytest.mark.parametrize(("place", "projected", "stride"), [(1, True, 1), (2, False, 1), (6, True, 2), (7, False, 1)])
def test_only_first_blocks_project_and_do_it_after_the_first_relu(place: int, projected: bool, stride: int) -> None:
    torch.manual_seed(0)
    features: Any = PreActResNet32(4).features
    block = features[place].eval()
    hidden = torch.randn(2, block.conv1.in_channels, 4, 4)
    active = normalized(hidden, block.bn1)
    residual = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    residual = F.conv2d(normalized(residual, block.bn2), block.conv2.weight, padding=1)
    shortcut = F.conv2d(active, block.projection.weight, stride=stride) if projected else hidden
    assert (block.projection is not None) == projected
    torch.testing.assert_close(block(hidden), residual + shortcut)


def test_the_thin_network_ends_in_normalization_relu_and_mean() -> None:
    torch.manual_seed(0)
    net = PreActResNet32(4, in_channels=1).eval()
    images = torch.randn(2, 1, 8, 8)
    features: Any = net.features
    hidden = normalized(features[:16](images), features[16]).mean((2, 3))
    torch.testing.assert_close(net(images), F.linear(hidden, net.head.weight, net.head.bias))
    net(images.requires_grad_()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_weights_of_the_thin_network_begin_as_he_drew_them() -> None:
    torch.manual_seed(0)
    net = PreActResNet32(10)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs = module.weight[0].numel()
            scaled = module.weight.detach().flatten() * (inputs / 2) ** 0.5
            # five standard errors, and tails that a uniform draw does not have
            assert float(scaled.std()) == pytest.approx(1, abs=5 / (2 * len(scaled)) ** 0.5)
            assert float(scaled.abs().max()) > 2.5
    assert not bool(net.head.bias.any())


def first_block(net: ResNet18 | PreActResNet18) -> Any:
    return net.features[3].eval()


def normalized(hidden: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    return F.relu(F.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias))


def test_pre_activation_block_starts_its_shortcut_after_the_first_relu() -> None:
    torch.manual_seed(0)
    block = first_block(PreActResNet18(4))
    hidden = torch.randn(2, 64, 4, 4)
    active = normalized(hidden, block.bn1)
    residual = F.conv2d(active, block.conv1.weight, padding=1)
    residual = F.conv2d(normalized(residual, block.bn2), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(hidden), residual + active)


def test_basic_block_adds_its_input_before_the_last_relu() -> None:
    torch.manual_seed(0)
    block = first_block(ResNet18(4))
    nn.init.zeros_(block.bn2.weight)
    hidden = torch.randn(2, 64, 4, 4)
    torch.testing.assert_close(block(hidden), F.relu(hidden))
