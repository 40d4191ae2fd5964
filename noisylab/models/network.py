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

    @property
    def head_name(self) -> str:
        """The name of the part that turns a sample's embedding into logits: "head", or else the last linear layer.

        Raises:
            ValueError: the network ends in something else.
        """
        if isinstance(getattr(self, "head", None), nn.Module):
            return "head"
        linear = [name for name, module in self.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError(
                f"{type(self).__name__} has no linear layer, so it has no embedding that another head could be given; use a "
                "network that ends in one"
            )
        return linear[-1]

    @property
    def embedding_width(self) -> int:
        """D, the numbers of a sample that the head sees."""
        head = self.get_submodule(self.head_name)
        return next(module.in_features for module in head.modules() if isinstance(module, nn.Linear))

    def rate_factors(self) -> dict[str, float]:
        """By which the optimizer's learning rate is multiplied for each parameter, by its name; 1 for those left out."""
        return {}

    def embed(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """What the head sees, (B, D), and the logits (B, K), both of one forward pass; further heads take the first.

        The pass is not compiled, see `noisylab.callbacks.Speed`.

        Raises:
            ValueError: the last linear layer sees something else than one row of numbers for each sample.

        Example:
            >>> import torch
            >>> from noisylab.models import MLP
            >>> net = MLP(num_classes=3, in_features=4, hidden=(8,))
            >>> embedding, logits = net.embed(torch.zeros(2, 4))
            >>> embedding.shape, bool((net.head(embedding) == logits).all())
            (torch.Size([2, 8]), True)
        """
        seen: list[Tensor] = []
        handle = self.get_submodule(self.head_name).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            logits = self.forward(inputs)
        finally:
            handle.remove()
        shapes = [tuple(embedding.shape) for embedding in seen]
        if len(shapes) != 1 or shapes[0] != (len(logits), self.embedding_width):
            raise ValueError(
                f"{type(self).__name__}: its last linear layer saw {shapes or 'nothing'}, expected one tensor of shape "
                f"({len(logits)}, {self.embedding_width}); use a network whose last layer sees one row for each sample"
            )
        return seen[0], logits

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
