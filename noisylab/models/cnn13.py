"""The 13-layer convolutional network of the Pi model and the Mean Teacher."""

from __future__ import annotations

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["CNN13"]


class CNN13(Network):
    """Nine convolutions with batch normalization and leaky ReLU (slope 0.1) in three groups, for 32x32 images.

    Three 3x3 convolutions with 128 channels, 2x2 max-pool, dropout; the same with 256; a 3x3 convolution with 512 channels and no
    padding, 1x1 convolutions with 256 and 128; mean over the image, linear layer. For ten classes it has 3,121,802 parameters and
    731 million multiplications a forward pass, 3.4 times those of WRN-28-2.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, https://arxiv.org/abs/1703.01780; before,
    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017. Their code has weight normalization, with
    mean-only batch normalization, in place of batch normalization, and adds noise to the images itself: a view does that here
    (`noisylab.transforms.GaussianNoise`).

    Args:
        num_classes: K.
        in_channels: channels of the image.
        dropout: probability of dropping a unit after each max-pool, in [0, 1).
        norm_momentum: share of the newest batch in the running statistics of batch normalization, in (0, 1].

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import torch
        >>> CNN13(num_classes=10)(torch.zeros(2, 3, 12, 12)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, dropout: float = 0.5, norm_momentum: float = 0.1) -> None:
        super().__init__(num_classes)
        if not 0 <= dropout < 1 or not 0 < norm_momentum <= 1:
            raise ValueError(f"dropout must be in [0, 1) and norm_momentum in (0, 1], got {dropout} and {norm_momentum}")

        def convolution(before: int, channels: int, size: int, padding: int) -> list[nn.Module]:
            # No bias: the batch normalization after it would take it away again.
            weights = nn.Conv2d(before, channels, size, padding=padding, bias=False)
            return [weights, nn.BatchNorm2d(channels, momentum=norm_momentum), nn.LeakyReLU(0.1)]

        self.features = nn.Sequential()
        before = in_channels
        for channels in (128, 256):
            for _ in range(3):
                self.features.extend(convolution(before, channels, 3, 1))
                before = channels
            self.features.extend([nn.MaxPool2d(2), nn.Dropout(dropout)])
        for channels, size in ((512, 3), (256, 1), (128, 1)):
            self.features.extend(convolution(before, channels, size, 0))
            before = channels
        self.features.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.head = nn.Linear(before, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, H, W), H and W at least 12.

        Raises:
            ValueError: the images are smaller.
        """
        image = self._tensor(inputs)
        if min(image.shape[-2:]) < 12:
            raise ValueError(
                f"CNN13 takes images of at least 12x12 pixels, got shape {tuple(image.shape)}; enlarge them or use SmallCNN"
            )
        return self.head(self.features(image))
