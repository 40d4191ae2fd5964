import pytest
import torch

from noisylab.models import SmallCNN


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32), (1, 4)])
def test_any_small_image_gives_logits(channels: int, size: int) -> None:
    assert SmallCNN(num_classes=10, in_channels=channels)(torch.randn(2, channels, size, size)).shape == (2, 10)


def test_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in SmallCNN(num_classes=10).parameters()) == 16_794


def test_backward_reaches_every_parameter() -> None:
    net = SmallCNN(num_classes=3, width=4)
    net(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_no_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="width must be at least 2 channels, got 1"):
        SmallCNN(num_classes=3, width=1)
