"""LeNet for 28 x 28 digits."""

from __future__ import annotations

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["LeNet"]


class LeNet(Network):
    """Two 5x5 convolutions (6 and 16 channels, the first padded), each with ReLU and a 2x2 max-pool; then 120, 84, K.

    The form in which papers on noisy labels train it on MNIST (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning
    applied to document recognition", Proc. IEEE 1998, with ReLU, max-pooling and full connections): 61,706 parameters for ten
    classes of 28 x 28 images.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        image_size: height and width of the image in pixels, at least 12.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import torch
        >>> LeNet(num_classes=10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 1, image_size: int = 28) -> None:
        super().__init__(num_classes)
        if image_size < 12:
            raise ValueError(f"image_size must be at least 12 pixels, got {image_size}; enlarge the images or use SmallCNN")
        self.image_size = image_size
        side = (image_size // 2 - 4) // 2
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2),
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
