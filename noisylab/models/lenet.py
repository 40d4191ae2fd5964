"""LeNet for 28 x 28 digits."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["LeNet"]


class LeNet(Network):
    """Two 5x5 convolutions (6 and 16 channels, the first padded), each with ReLU and a 2x2 max-pool; then 120, 84, K.

    The form in which papers on noisy labels train it on MNIST (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning
    applied to document recognition", Proc. IEEE 1998, with ReLU, max-pooling and full connections): 61,706 parameters for ten
    classes of 28 x 28 images. With ``in_channels=3``, ``image_size=32`` and ``padding=0`` it is the small CNN of Co-teaching+
    (xingruiyu/coteaching_plus, model.py, CNN_small): 62,006 parameters for ten classes.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        image_size: height and width of the image in pixels, at least 12, or 16 without padding.
        padding: pixels added to each side before the first convolution, 2 or 0.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import torch
        >>> LeNet(num_classes=10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 1, image_size: int = 28, padding: Literal[0, 2] = 2) -> None:
        super().__init__(num_classes)
        if padding not in (0, 2):
            raise ValueError(f"padding must be 0 or 2 pixels, got {padding!r}")
        least = 16 - 2 * padding
        if image_size < least:
            raise ValueError(f"image_size must be at least {least} pixels, got {image_size}; enlarge the images or use SmallCNN")
        self.image_size = image_size
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side**2, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        self.head = nn.Linear(84, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, image_size, image_size).

        Raises:
            ValueError: the images have another size.
        """
        return self.head(self.features(self._image(inputs, self.image_size)))
