"""Parts of a network that are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["BorrowedNetwork", "freeze_parts"]

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class BorrowedNetwork(Network):
    """A network of another library, `net`, of which parts may be frozen.

    Args:
        num_classes: K.

    Attributes:
        net: the network, with K outputs.
    """

    net: nn.Module

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self._frozen_batchnorm: list[str] = []

    def freeze(self, parts: str | Sequence[str] | None, head: str, train_batchnorm: bool) -> None:
        """Freeze parts of `net`, see `freeze_parts`; None for none."""
        if parts is not None:
            self._frozen_batchnorm = freeze_parts(self.net, parts, head, train_batchnorm)
            self.train(self.training)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for images (B, C, H, W) of a size that the network takes."""
        return self.net(self._tensor(inputs))

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of everything but frozen batch normalization, which stays in evaluation mode."""
        super().train(mode)
        for name in self._frozen_batchnorm:
            self.net.get_submodule(name).eval()
        return self


def freeze_parts(net: nn.Module, freeze: str | Sequence[str], head: str, train_batchnorm: bool) -> list[str]:
    """Take the gradients from parts of a network before its head.

    Args:
        net: changed in place.
        freeze: "all_but_head", or first parts of parameter names.
        head: name of the last layer.
        train_batchnorm: whether batch normalization in these parts is trained nevertheless.

    Returns:
        Names of the batch normalization that is frozen, which belongs into evaluation mode.

    Raises:
        ValueError: for another word, or a name that no parameter before the head begins with.
    """
    if isinstance(freeze, str) and freeze != "all_but_head":
        raise ValueError(f"freeze must be 'all_but_head' or a list of name parts, got {freeze!r}; use [{freeze!r}]")
    backbone = [name for name, _ in net.named_parameters() if not _starts(name, head)]
    prefixes = [""] if isinstance(freeze, str) else list(freeze)
    for prefix in prefixes:
        if not any(_starts(name, prefix) for name in backbone):
            parts = list(dict.fromkeys(name.split(".")[0] for name in backbone))
            raise ValueError(
                f"freeze names {prefix!r}, which begins no parameter name before the head; the network's parts are {parts}"
            )
    batchnorm = {name for name, module in net.named_modules() if isinstance(module, _BATCH_NORM)}
    frozen: list[str] = []
    for name in backbone:
        module_name = name.rpartition(".")[0]
        if not any(_starts(name, prefix) for prefix in prefixes) or (train_batchnorm and module_name in batchnorm):
            continue
        net.get_parameter(name).requires_grad_(False)
        if module_name in batchnorm and module_name not in frozen:
            frozen.append(module_name)
    return frozen


def _starts(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")
