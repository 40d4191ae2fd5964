"""Shake-shake networks: two branches a block, added in random shares."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["Shake", "ShakeShake"]

_Forward = Literal["even", "shake"]
_Backward = Literal["even", "shake", "keep"]
_Level = Literal["image", "batch"]


class Shake(nn.Module):
    """The sum of two branches in random shares, with other random shares for their gradients.

    In training ``y = a x1 + (1 - a) x2``, whose gradient is taken as if it were ``b x1 + (1 - b) x2``; in evaluation
    ``y = (x1 + x2) / 2``. The shares are drawn from torch's generator of the device, which a method keys at each step.

    Args:
        forward: a is 1/2 ("even") or uniform in [0, 1) ("shake").
        backward: b is 1/2 ("even"), uniform and independent of a ("shake"), or a itself ("keep").
        level: whether each "image" or each "batch" has shares of its own.

    Raises:
        ValueError: for another word.

    Example:
        >>> Shake().eval()(torch.tensor([[2.0]]), torch.tensor([[4.0]]))
        tensor([[3.]])
    """

    def __init__(self, forward: _Forward = "shake", backward: _Backward = "shake", level: _Level = "image") -> None:
        super().__init__()
        asked = {"forward": (forward, _Forward), "backward": (backward, _Backward), "level": (level, _Level)}
        for name, (value, words) in asked.items():
            if value not in get_args(words):
                raise ValueError(f"{name} must be one of {', '.join(get_args(words))}, got {value!r}")
        self.forward_share, self.backward_share, self.level = forward, backward, level

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The sum, of the shape of both branches, (B, ...)."""
        if not self.training:
            return (first + second) / 2
        a = self._share(self.forward_share, first)
        b = a if self.backward_share == "keep" else self._share(self.backward_share, first)
        return mixed(first, second, a, b)

    def _share(self, word: str, branch: Tensor) -> Tensor:
        shape = (len(branch) if self.level == "image" else 1, *[1] * (branch.ndim - 1))
        if word == "even":
            return torch.full(shape, 0.5, dtype=branch.dtype, device=branch.device)
        return torch.rand(shape, device=branch.device, dtype=torch.float32).to(branch.dtype)

    def extra_repr(self) -> str:
        """The three words."""
        return f"forward={self.forward_share!r}, backward={self.backward_share!r}, level={self.level!r}"


def mixed(first: Tensor, second: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``a first + (1 - a) second``, with the gradient of ``b first + (1 - b) second``.

    Args:
        first: (B, ...).
        second: likewise.
        a: shares of `first`, in [0, 1], that broadcast with it.
        b: likewise, for the gradient.
    """
    return b * first + (1 - b) * second + ((a - b) * (first - second)).detach()


class ShakeShake(Network):
    """Shake-shake network for 32x32 images: 26 2x32d by default, with shares of both directions drawn for each image.

    A 3x3 convolution with 16 channels, three stages of (depth - 2) / 6 blocks with `width`, 2 and 4 times `width` channels, ReLU,
    mean over the image, linear layer. Each of a block's two branches is ReLU, 3x3 convolution, batch normalization, ReLU, 3x3
    convolution, batch normalization; `Shake` adds them, and the block's input is added to that. Where channels or size change,
    the input passes through ReLU, two 1x1 convolutions with half of the channels each, the second on the image shifted by one
    pixel up and to the left, and batch normalization.

    For ten classes it has 2,923,146 parameters, 26.2 million with ``width=96``. Convolutions draw their weights as in He, Zhang,
    Ren, Sun, ICCV 2015, with the variance 2 / outputs.

    Source: Gastaldi, "Shake-Shake regularization", 2017, https://arxiv.org/abs/1705.07485 ("Shake-Shake-Image" there). The stem
    without batch normalization and the shift to the left are those of a PyTorch port (ildoonet/pytorch-randaugment); the
    author's code normalizes after the stem and shifts to the right.

    Args:
        num_classes: K.
        depth: layers, 6 n + 2 with n of at least 1.
        width: channels of the first stage, an even number.
        forward: the branches' shares in training, see `Shake`.
        backward: the shares of their gradients.
        level: whether each image or each batch has shares of its own.
        in_channels: channels of the image.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> ShakeShake(num_classes=10, depth=8, width=4)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        depth: int = 26,
        width: int = 32,
        forward: Literal["even", "shake"] = "shake",
        backward: Literal["even", "shake", "keep"] = "shake",
        level: Literal["image", "batch"] = "image",
        in_channels: int = 3,
    ) -> None:
        super().__init__(num_classes)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 8, 14, 20, 26, ..., got {depth}")
        if width < 2 or width % 2:
            raise ValueError(f"width must be an even number of channels, at least 2, got {width}")
        self.features = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1))
        before = 16
        for stage, channels in enumerate((width, 2 * width, 4 * width)):
            for number in range((depth - 2) // 6):
                stride = 2 if number == 0 and stage > 0 else 1
                self.features.append(_Block(before, channels, stride, Shake(forward, backward, level)))
                before = channels
        self.features.extend([nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.head = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W)."""
        return self.head(self.features(self._tensor(inputs)))


class _Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int, shake: Shake) -> None:
        super().__init__()
        self.first, self.second = _branch(before, channels, stride), _branch(before, channels, stride)
        self.shake = shake
        self.shortcut = None if before == channels and stride == 1 else _Shortcut(before, channels, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        kept = inputs if self.shortcut is None else self.shortcut(inputs)
        return kept + self.shake(self.first(inputs), self.second(inputs))


def _branch(before: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )


class _Shortcut(nn.Module):
    """Half of the channels see every second pixel, the other half the pixels below and to the right of those."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(before, channels // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(before, channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        active, step = F.relu(inputs), self.stride
        shifted = F.pad(active, (-1, 1, -1, 1))  # the first row and column go, zeros come at the other end
        ways = self.conv1(active[..., ::step, ::step]), self.conv2(shifted[..., ::step, ::step])
        return self.norm(torch.cat(ways, 1))
