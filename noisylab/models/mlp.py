"""A multilayer perceptron."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["MLP"]


class MLP(Network):
    """Hidden layers of linear, batch normalization if asked for, ReLU, dropout; then a linear layer.

    Args:
        num_classes: K.
        in_features: numbers in one sample, all its dimensions multiplied. The commands of noisylab take "auto" for those of the
            data, which is for tables, whose categories become as many numbers as they have values; in Python, give
            ``data.num_features``.
        hidden: widths of the hidden layers; none makes a linear classifier.
        dropout: probability of dropping a hidden unit, in [0, 1).
        batch_norm: whether to normalize each hidden layer before its ReLU.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import torch
        >>> MLP(num_classes=10, in_features=64)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        in_features: int | Literal["auto"],
        hidden: tuple[int, ...] = (256, 256),
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(num_classes)
        if in_features == "auto":
            raise ValueError('in_features="auto" is for the command line, which reads the data first; give data.num_features')
        if in_features < 1:
            raise ValueError(f"in_features must be at least 1, got {in_features}")
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden must hold widths of at least 1, got {tuple(hidden)}; leave a layer out to skip it")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a probability in [0, 1), got {dropout}")
        self.in_features = in_features
        self.body = nn.Sequential(nn.Flatten())
        for width in hidden:
            self.body.append(nn.Linear(in_features, width))
            if batch_norm:
                self.body.append(nn.BatchNorm1d(width))
            self.body.append(nn.ReLU())
            if dropout:
                self.body.append(nn.Dropout(dropout))
            in_features = width
        self.head = nn.Linear(in_features, num_classes)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for samples (B, ...) of `in_features` numbers each.

        Raises:
            ValueError: a sample has another number of numbers.
        """
        samples = self._tensor(inputs)
        if samples.shape[1:].numel() != self.in_features:
            raise ValueError(
                f"MLP was built for in_features={self.in_features}, got samples of shape {tuple(samples.shape[1:])}; "
                f"set in_features={samples.shape[1:].numel()}"
            )
        return self.head(self.body(samples))
