import itertools

import pytest
import torch
from torch import nn

from noisylab.models import CoTeachingCNN


@pytest.fixture(scope="module")
def net() -> CoTeachingCNN:
    torch.manual_seed(0)
    return CoTeachingCNN(num_classes=10)


def test_layers_are_those_of_the_paper(net: CoTeachingCNN) -> None:
    block = ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3
    pool = ["MaxPool2d", "Dropout2d"]
    assert [type(module).__name__ for module in net.features] == [
        *block,
        *pool,
        *block,
        *pool,
        *block,
        "AdaptiveAvgPool2d",
        "Flatten",
    ]
    convolutions = [module for module in net.features if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [128, 128, 128, 256, 256, 256, 512, 256, 128]
    assert all(conv.kernel_size == (3, 3) and conv.bias is not None for conv in convolutions)
    assert [conv.padding for conv in convolutions] == [(1, 1)] * 6 + [(0, 0)] * 3
    assert {module.negative_slope for module in net.features if isinstance(module, nn.LeakyReLU)} == {0.01}
    assert {module.p for module in net.features if isinstance(module, nn.Dropout2d)} == {0.25}


def test_number_of_parameters(net: CoTeachingCNN) -> None:
    widths = [3, 128, 128, 128, 256, 256, 256, 512, 256, 128]
    convolutions = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    assert sum(p.numel() for p in net.parameters()) == convolutions + 2 * sum(widths[1:]) + 129 * 10 == 4_434_570


def test_the_last_block_leaves_two_by_two_of_a_cifar_image(net: CoTeachingCNN) -> None:
    with torch.no_grad():
        assert net.eval().features[:-2](torch.zeros(1, 3, 32, 32)).shape == (1, 128, 2, 2)


def test_backward_reaches_every_parameter() -> None:
    net = CoTeachingCNN(num_classes=4, in_channels=1)
    logits = net(torch.randn(2, 1, 28, 28))
    assert logits.shape == (2, 4)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_dropout_is_off_in_evaluation(net: CoTeachingCNN) -> None:
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net.eval()(image), net(image))
        net.train()
        assert not torch.equal(net.features(torch.cat([image] * 2)), net.features(torch.cat([image] * 2)))


def test_impossible_settings_and_small_images_are_refused(net: CoTeachingCNN) -> None:
    with pytest.raises(ValueError, match=r"dropout must be a probability in \[0, 1\), got 1"):
        CoTeachingCNN(num_classes=10, dropout=1)
    with pytest.raises(ValueError, match=r"at least 28x28, got shape \(1, 3, 32, 27\)"):
        net(torch.zeros(1, 3, 32, 27))
