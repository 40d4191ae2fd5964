"""Wide residual networks."""

from __future__ import annotations

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["WideResNet"]


class WideResNet(Network):
    """Wide ResNet for 32x32 images: WRN-28-10 by default.

    A bare 3x3 convolution with 16 channels, three stages of (depth - 4) / 6 pre-activation blocks with 16, 32 and 64 times
    `width` channels, batch normalization, ReLU, mean over the image, linear layer. Where the shape changes, the shortcut is a 1x1
    convolution after the block's first ReLU. Convolutions have no bias; their weights are drawn as in He, Zhang, Ren, Sun, ICCV
    2015, with the variance 2 / outputs.

    The public codes of MixMatch and FixMatch train WRN-28-2 with leaky ReLU (``leaky_slope=0.1``) and slow running statistics
    (``norm_momentum=0.001``). One trait of those codes is not kept: the first block of their second and third stage makes no use
    of its first batch normalization and gives both its ways the raw input. The parameters are the same, 1,467,610 for ten
    classes.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.

    Args:
        num_classes: K.
        depth: layers, 6 n + 4 with n of at least 1.
        width: factor of the channels.
        dropout: probability of dropping a unit between the two convolutions of a block, in [0, 1).
        in_channels: channels of the image.
        leaky_slope: slope of all ReLUs below zero, in [0, 1); 0 is plain ReLU.
        norm_momentum: share of the newest batch in the running statistics of batch normalization, in (0, 1].

    Raises:
        ValueError: for another depth, or a width, dropout, slope or momentum outside its range.

    Example:
        >>> import torch
        >>> WideResNet(num_classes=10, depth=10, width=1)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        depth: int = 28,
        width: int = 10,
        dropout: float = 0.0,
        in_channels: int = 3,
        leaky_slope: float = 0.0,
        norm_momentum: float = 0.1,
    ) -> None:
        super().__init__(num_classes)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 10, 16, 22, 28, ..., got {depth}")
        if width < 1 or not 0 <= dropout < 1:
            raise ValueError(f"width must be at least 1 and dropout in [0, 1), got {width} and {dropout}")
        if not 0 <= leaky_slope < 1 or not 0 < norm_momentum <= 1:
            raise ValueError(
                f"leaky_slope must be in [0, 1) and norm_momentum in (0, 1], got {leaky_slope} and {norm_momentum}; "
                "norm_momentum is the share of the newest batch"
            )
        self.features = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1, bias=False))
        before = 16
        for stage, channels in enumerate((16 * width, 32 * width, 64 * width)):
            for number in range((depth - 4) // 6):
                stride = 2 if number == 0 and stage > 0 else 1
                self.features.append(_Block(before, channels, stride, dropout, leaky_slope))
                before = channels
        self.features.extend([nn.BatchNorm2d(before), _relu(leaky_slope), nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.head = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.momentum = norm_momentum
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W)."""
        return self.head(self.features(self._tensor(inputs)))


class _Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int, dropout: float, leaky_slope: float) -> None:
        super().__init__()
        self.relu = _relu(leaky_slope)
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        same = before == channels and stride == 1
        self.shortcut = None if same else nn.Conv2d(before, channels, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Sum of the shortcut and two convolutions."""
        active = self.relu(self.norm1(inputs))
        kept = inputs if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(self.dropout(self.relu(self.norm2(self.conv1(active)))))


def _relu(leaky_slope: float) -> nn.Module:
    return nn.LeakyReLU(leaky_slope) if leaky_slope else nn.ReLU()
