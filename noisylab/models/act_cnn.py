"""The 7-layer CNN of ACT and the papers it compares with."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["ACTNet"]

_Head = Literal["mlp", "linear"]


class ACTNet(Network):
    """Six 3x3 convolutions in three blocks, then a head of two layers or of one.

    Each convolution (with bias) is followed by batch normalization and ReLU, each block of two by a 2x2 max-pool:
    64, 64; 128, 128; 196, 16 channels. The 256 features of a 32x32 image go through 256 -> 512 -> K with batch
    normalization and ReLU between. Convolutions keep PyTorch's initial values, the head has He-normal weights and zero
    biases. For K = 100: 699,488 parameters and 225.2 MFLOP a forward pass of one image (a multiply-add counts as two).

    With ``head="linear"`` a single layer 256 -> K with PyTorch's initial values takes the place of the head: the 7-layer CNN of
    Co-teaching+ (xingruiyu/coteaching_plus, model.py) and JoCoR (hongxin001/JoCoR, model/cnn.py). For K = 100: 541,280
    parameters, 542,478 entries with the running statistics.

    **Paper**: Sheng et al., "Enhancing Robustness in Learning with Noisy Labels: An Asymmetric Co-Training Approach",
    ACM MM 2024. **Authors' code**: shtdusb/ACT at 1543dd2, model/SevenCNN.py.

    **Differences**: the authors also build and run a projection head (256 -> 256 -> 128, 98,944 parameters, 0.2 MFLOP)
    whose output nothing reads; with it the counts are 798,432 and 225.4. It has no gradient, so it is left out. Other
    image sizes than 32 are allowed and change the number of features.

    Args:
        num_classes: K.
        in_channels: channels of the image.
        image_size: height and width of the image in pixels, at least 8.
        head: "mlp" for ACT's two layers, "linear" for one.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import torch
        >>> ACTNet(num_classes=100)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 100])
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, image_size: int = 32, head: Literal["mlp", "linear"] = "mlp"
    ) -> None:
        super().__init__(num_classes)
        if image_size < 8:
            raise ValueError(f"image_size must be at least 8 pixels, got {image_size}; enlarge the images")
        if head not in get_args(_Head):
            raise ValueError(f"head must be 'mlp' or 'linear', got {head!r}")
        self.image_size = image_size
        self.features = nn.Sequential(*_block(in_channels, 64, 64), *_block(64, 128, 128), *_block(128, 196, 16), nn.Flatten())
        width = 16 * (image_size // 8) ** 2
        if head == "linear":
            self.head: nn.Module = nn.Linear(width, num_classes)
            return
        self.head = nn.Sequential(
            nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(), nn.Linear(2 * width, num_classes)
        )
        for linear in self.head.children():
            if isinstance(linear, nn.Linear):
                nn.init.kaiming_normal_(linear.weight)
                nn.init.zeros_(linear.bias)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, in_channels, image_size, image_size).

        Raises:
            ValueError: the images have another size.
        """
        return self.head(self.features(self._image(inputs, self.image_size)))


def _block(in_channels: int, first: int, second: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, first, 3, padding=1),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.BatchNorm2d(second),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
