"""The parent of every backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from noisylab.types import Inputs

__all__ = ["NetFactory", "Network"]


class Network(nn.Module):
    """A classifier: `Inputs` in, (B, K) logits out. Its first constructor argument is the number of classes.

    Args:
        num_classes: K, at least 1.

    Attributes:
        num_classes: K; the output's width is checked against it once, by the method that uses the network.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for a batch of inputs."""
        raise NotImplementedError

    def _tensor(self, inputs: Inputs) -> Tensor:
        if isinstance(inputs, dict):
            raise TypeError(
                f"{type(self).__name__} takes one tensor, got a dict of {sorted(inputs)}; "
                "use a network for several views, or a data module that yields one"
            )
        return inputs

    def _image(self, inputs: Inputs, size: int) -> Tensor:
        """The one tensor, if its last two dimensions are `size`."""
        image = self._tensor(inputs)
        if image.shape[-2:] != (size, size):
            raise ValueError(
                f"{type(self).__name__} was built for {size}x{size} images, got shape {tuple(image.shape)}; "
                "set image_size to the size of the images"
            )
        return image


NetFactory: TypeAlias = Callable[[int], Network]
"""Called with the number of classes, returns a new network. A second network is one more call."""
