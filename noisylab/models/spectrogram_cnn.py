"""A convolutional network for spectrograms."""

from __future__ import annotations

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["SpectrogramCNN"]


class SpectrogramCNN(Network):
    """3x3 convolutions, each with batch normalization, ReLU and 2x2 max-pool; mean; linear.

    Made for log-mel spectrograms of 64 bands and 96 frames, (B, 1, 64, 96), as `RAVDESS` gives them; any size works whose sides
    are at least two to the power of the number of layers. The default has 390,376 parameters with eight classes.

    Args:
        num_classes: K.
        in_channels: channels of the input.
        widths: channels of each convolution, at least one.

    Raises:
        ValueError: `widths` is empty or has a width below 1.

    Example:
        >>> import torch
        >>> SpectrogramCNN(num_classes=8)(torch.zeros(2, 1, 64, 96)).shape
        torch.Size([2, 8])
    """

    def __init__(self, num_classes: int, in_channels: int = 1, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__(num_classes)
        if not widths or any(width < 1 for width in widths):
            raise ValueError(f"widths must hold at least one number of channels, each at least 1, got {tuple(widths)}")
        self.body = nn.Sequential()
        for width in widths:
            # no bias: the batch normalization after it would take it away again
            self.body.append(nn.Conv2d(in_channels, width, 3, padding=1, bias=False))
            self.body.extend([nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)])
            in_channels = width
        self.body.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for spectrograms (B, in_channels, bands, frames)."""
        return self.head(self.body(self._tensor(inputs)))
