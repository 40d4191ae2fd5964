import pytest
import torch

from noisylab.models import LeNet


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 12), (1, 13), (1, 27)])
def test_images_of_the_size_it_was_built_for_give_logits(channels: int, size: int) -> None:
    assert LeNet(10, in_channels=channels, image_size=size)(torch.randn(2, channels, size, size)).shape == (2, 10)


def test_number_of_parameters() -> None:
    # 6 (25 + 1) + 16 (150 + 1) + 120 (400 + 1) + 84 (120 + 1) + 10 (84 + 1)
    assert sum(parameter.numel() for parameter in LeNet(num_classes=10).parameters()) == 61_706


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="built for 28x28 images, got shape"):
        LeNet(10)(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match="image_size must be at least 12 pixels, got 8"):
        LeNet(10, image_size=8)


def test_the_small_cnn_of_co_teaching_plus() -> None:
    net = LeNet(num_classes=10, in_channels=3, image_size=32, padding=0)
    # 6 (75 + 1) + 16 (150 + 1) + 120 (16 * 5 * 5 + 1) + 84 (120 + 1) + 10 (84 + 1)
    assert sum(parameter.numel() for parameter in net.parameters()) == 62_006
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("size", [16, 17, 32])
def test_without_padding_images_of_the_size_it_was_built_for_give_logits(size: int) -> None:
    assert LeNet(10, image_size=size, padding=0)(torch.randn(2, 1, size, size)).shape == (2, 10)


def test_a_padding_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="padding must be 0 or 2 pixels, got 1"):
        LeNet(10, padding=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image_size must be at least 16 pixels, got 15"):
        LeNet(10, image_size=15, padding=0)
