from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisylab.models import Network, PreActResNet18, ResNet18, ResNet34

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


def first_block(net: ResNet18 | PreActResNet18) -> Any:
    return net.features[3].eval()


def normalised(hidden: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    return F.relu(F.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias))


def test_pre_activation_block_starts_its_shortcut_after_the_first_relu() -> None:
    torch.manual_seed(0)
    block = first_block(PreActResNet18(4))
    hidden = torch.randn(2, 64, 4, 4)
    active = normalised(hidden, block.bn1)
    residual = F.conv2d(active, block.conv1.weight, padding=1)
    residual = F.conv2d(normalised(residual, block.bn2), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(hidden), residual + active)


def test_basic_block_adds_its_input_before_the_last_relu() -> None:
    torch.manual_seed(0)
    block = first_block(ResNet18(4))
    nn.init.zeros_(block.bn2.weight)
    hidden = torch.randn(2, 64, 4, 4)
    torch.testing.assert_close(block(hidden), F.relu(hidden))
