import pytest
import torch
from torch import nn

from noisylab.models import SpectrogramCNN


def test_each_layer_is_convolution_normalization_relu_and_pooling() -> None:
    net = SpectrogramCNN(num_classes=5, in_channels=1, widths=(2, 3)).eval()
    x = torch.randn(2, 1, 8, 12)
    first, second = (layer for layer in net.body if isinstance(layer, nn.Conv2d))
    scale = (1 + 1e-5) ** -0.5  # of a normalization that has seen nothing yet
    hidden = torch.nn.functional.max_pool2d((first(x) * scale).relu(), 2)
    hidden = torch.nn.functional.max_pool2d((second(hidden) * scale).relu(), 2)
    assert hidden.shape == (2, 3, 2, 3)
    torch.testing.assert_close(net(x), net.head(hidden.mean((2, 3))))


def test_number_of_parameters() -> None:
    # nine weights a pair of channels, two numbers of each normalization, and the linear layer with its bias
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 2 * (32 + 64 + 128 + 256)
    assert sum(parameter.numel() for parameter in SpectrogramCNN(num_classes=8).parameters()) == convolutions + 256 * 8 + 8


def test_no_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"widths must hold at least one number of channels, each at least 1, got \(\)"):
        SpectrogramCNN(num_classes=3, widths=())
