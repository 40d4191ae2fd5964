"""Residual networks for small images: 3x3 stem, no max-pool, stages of 64, 128, 256, 512 channels, or of 32, 64, 128."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["PreActResNet18", "PreActResNet32", "ResNet18", "ResNet34"]


class ResNet18(Network):
    """ResNet-18 with the stem for 32x32 images, two basic blocks per stage.

    Convolutions have no bias; a block that changes size has a 1x1 convolution with batch normalization as shortcut; all
    keep PyTorch's initial values. He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

    Args:
        num_classes: K.
        in_channels: channels of the image.

    Example:
        >>> import torch
        >>> ResNet18(num_classes=10)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(num_classes)
        self.features = _features(_BasicBlock, (2, 2, 2, 2), in_channels)
        self.head = nn.Linear(512, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W)."""
        return self.head(self.features(self._tensor(inputs)))


class ResNet34(Network):
    """ResNet-34 with the stem for 32x32 images: `ResNet18` with 3, 4, 6, 3 blocks. ELR's network for CIFAR.

    The network of the same name in the CIFAR-N benchmark has the ImageNet stem and is `TorchvisionNet(name="resnet34")`.

    Args:
        num_classes: K.
        in_channels: channels of the image.
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(num_classes)
        self.features = _features(_BasicBlock, (3, 4, 6, 3), in_channels)
        self.head = nn.Linear(512, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W)."""
        return self.head(self.features(self._tensor(inputs)))


class PreActResNet18(Network):
    """Pre-activation ResNet-18 for 32x32 images, as DivideMix and ELR+ use it.

    It keeps three traits of that code (LiJunnan1992/DivideMix at 39740b2, PreResNet.py) that are not in He, Zhang, Ren,
    Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016: the stem ends in batch normalization and ReLU; every
    shortcut, the identity too, starts after the block's first ReLU; nothing stands between the last sum and the mean.

    Args:
        num_classes: K.
        in_channels: channels of the image.
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(num_classes)
        self.features = _features(_PreActBlock, (2, 2, 2, 2), in_channels)
        self.head = nn.Linear(512, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W)."""
        return self.head(self.features(self._tensor(inputs)))


class PreActResNet32(Network):
    """Pre-activation ResNet-32 for 32x32 images, three stages of five blocks with 32, 64 and 128 channels.

    A bare 3x3 convolution, the stages, batch normalization, ReLU, mean over the image, linear layer. The first block of every
    stage, of the first stage too, has a 1x1 convolution as shortcut, which starts after the block's first ReLU; the shortcut of
    all others is the block's input as it is. Convolutions have no bias; weights are drawn as in He, Zhang, Ren, Sun, "Delving
    Deep into Rectifiers", ICCV 2015, from a normal distribution with the variance 2 / inputs; the last bias begins at zero.

    Source: the network of Tanaka, Ikami, Yamasaki, Aizawa, "Joint Optimization Framework for Learning with Noisy Labels",
    CVPR 2018 (github.com/DaikiTanaka-UT/JointOptimization).

    Args:
        num_classes: K.
        in_channels: channels of the image.

    Example:
        >>> import torch
        >>> PreActResNet32(num_classes=10)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(num_classes)
        self.features = nn.Sequential(_conv3x3(in_channels, 32))
        width = 32
        for stage, channels in enumerate((32, 64, 128)):
            for number in range(5):
                stride = 2 if number == 0 and stage > 0 else 1
                self.features.append(_PlainPreActBlock(width, channels, stride, project=number == 0))
                width = channels
        self.features.extend([nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.head = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W)."""
        return self.head(self.features(self._tensor(inputs)))


class _BasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, hidden: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(hidden)))))
        return F.relu(residual + self.shortcut(hidden))


class _PreActBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        active = F.relu(self.bn1(hidden))
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + self.shortcut(active)


class _PlainPreActBlock(nn.Module):
    """As `_PreActBlock`, but an identity shortcut starts before the first batch normalization."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if project else None

    def forward(self, hidden: Tensor) -> Tensor:
        active = F.relu(self.bn1(hidden))
        shortcut = hidden if self.projection is None else self.projection(active)
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + shortcut


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def _features(block: type[_BasicBlock] | type[_PreActBlock], blocks_a_stage: Sequence[int], in_channels: int) -> nn.Sequential:
    features = nn.Sequential(_conv3x3(in_channels, 64), nn.BatchNorm2d(64), nn.ReLU())
    width = 64
    for stage, blocks in enumerate(blocks_a_stage):
        channels = 64 * 2**stage
        for number in range(blocks):
            stride = 2 if number == 0 and stage > 0 else 1
            features.append(block(width, channels, stride))
            width = channels
    return features.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
