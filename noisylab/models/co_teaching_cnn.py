"""The 9-layer CNN of Co-teaching."""

from __future__ import annotations

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["CoTeachingCNN"]


class CoTeachingCNN(Network):
    """Nine 3x3 convolutions in three blocks, mean over the image, linear layer.

    Each convolution (with bias) is followed by batch normalization and leaky ReLU of slope 0.01. Channels: 128, 128, 128;
    256, 256, 256; 512, 256, 128. The first two blocks end with a 2x2 max-pool and dropout of whole channels; the last block
    has no padding. PyTorch's initial values. For K = 10: 4,434,570 parameters.

    **Paper**: Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018.
    **Authors' code**: bhanML/Co-teaching, model.py.

    **Differences**: the authors call dropout as a function, without saying whether they train. PyTorch 0.3, which they pin, then
    drops nothing, neither in training nor in evaluation: that is ``dropout=0``, with which their figures were obtained. Newer
    versions drop in both. Here dropout is active in training alone, with the paper's probability by default. Their batch
    normalization of the logits, off in all their experiments, is left out.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        dropout: probability of dropping a channel, in [0, 1).

    Raises:
        ValueError: `dropout` lies outside its range.

    Example:
        >>> import torch
        >>> CoTeachingCNN(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, dropout: float = 0.25) -> None:
        super().__init__(num_classes)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a probability in [0, 1), got {dropout}")
        self.features = nn.Sequential(
            *_block(in_channels, (128, 128, 128), padding=1),
            nn.MaxPool2d(2),
            nn.Dropout2d(dropout),
            *_block(128, (256, 256, 256), padding=1),
            nn.MaxPool2d(2),
            nn.Dropout2d(dropout),
            *_block(256, (512, 256, 128), padding=0),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W), H and W at least 28.

        Raises:
            ValueError: the images are smaller.
        """
        image = self._tensor(inputs)
        if min(image.shape[-2:]) < _SMALLEST:
            raise ValueError(
                f"CoTeachingCNN needs images of at least {_SMALLEST}x{_SMALLEST}, got shape {tuple(image.shape)}; "
                "its last three convolutions have no padding"
            )
        return self.head(self.features(image))


_SMALLEST = 28  # a quarter of it, 7, is 1 after three convolutions without padding


def _block(in_channels: int, widths: tuple[int, ...], padding: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(in_channels, width, 3, padding=padding), nn.BatchNorm2d(width), nn.LeakyReLU(0.01)]
        in_channels = width
    return layers
