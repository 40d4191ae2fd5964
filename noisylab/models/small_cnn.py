"""A small convolutional network for digits and tests."""

from __future__ import annotations

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["SmallCNN"]


class SmallCNN(Network):
    """Four 3x3 convolutions, each with batch normalization and ReLU; 2x2 max-pool after each two; mean; linear.

    The channels are `width // 2` in the first two and `width` in the last two. Made for 8x8 to 32x32 images; any size
    from 4x4 on works. The default has 16,794 parameters and 0.8 MFLOP a forward pass of one 8x8 image, yet enough room
    to learn wrong labels by heart.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        width: channels of the last two convolutions, at least 2.

    Raises:
        ValueError: `width` is below 2.

    Example:
        >>> import torch
        >>> SmallCNN(num_classes=10)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: int = 32) -> None:
        super().__init__(num_classes)
        if width < 2:
            raise ValueError(f"width must be at least 2 channels, got {width}; the first layers have half of them")
        self.features = nn.Sequential(
            *_convolution(in_channels, width // 2),
            *_convolution(width // 2, width // 2),
            nn.MaxPool2d(2),
            *_convolution(width // 2, width),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W), H and W at least 4."""
        return self.head(self.features(self._tensor(inputs)))


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    # No bias: the batch normalization after it would take it away again.
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]
