"""Networks of other libraries, of which parts are not trained, or slower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from noisylab.models.layerwise import check_layer_decay, layer_numbers, layer_rates
from noisylab.models.lora import adapt, check_lora
from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["BorrowedNetwork", "freeze_parts"]

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class BorrowedNetwork(Network):
    """A network of another library, `net`: parts may be frozen, layers far from the head train slower, adapters take their place.

    Args:
        num_classes: K.

    Attributes:
        net: the network, with K outputs.
        layer_decay: in (0, 1], factor of the learning rate from each layer to the one before it.
    """

    net: nn.Module

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.layer_decay = 1.0
        self._head = ""
        self._layers: dict[str, int] = {}
        self._frozen_batchnorm: list[str] = []

    def tune(
        self,
        head: str,
        freeze: str | Sequence[str] | None = None,
        train_batchnorm: bool = True,
        layer_decay: float = 1.0,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what of `net` is trained, and how fast; a constructor calls it last, once `net` has its new head.

        Args:
            head: name of the last layer within `net`.
            freeze: "all_but_head", or the first parts of parameter names; see `freeze_parts`. None for none.
            train_batchnorm: whether batch normalization in frozen parts is trained nevertheless.
            layer_decay: see `noisylab.models.layerwise.layer_rates`.
            lora: arguments of `noisylab.models.lora.check_lora`: adapters and the head are all that is trained, and batch
                normalization stays in evaluation mode. None for no adapters.

        Raises:
            ValueError: for a value out of its range, a name that no parameter has, or `freeze` together with `lora`.
            ModuleNotFoundError: peft is not installed and `lora` is given.
        """
        self.layer_decay, self._head = check_layer_decay(layer_decay), head
        if lora is not None and freeze is not None:
            raise ValueError(f"lora freezes all but its adapters and the head; leave out freeze={freeze!r}, or lora")
        if self.layer_decay < 1:
            self._layers = self.layer_numbers(head)  # before adapters change the names
        if lora is not None:
            checked = check_lora(lora)
            self.freeze("all_but_head", head, train_batchnorm=False)
            adapt(self.net, head, checked)
        self.freeze(freeze, head, train_batchnorm)

    def freeze(self, parts: str | Sequence[str] | None, head: str, train_batchnorm: bool) -> None:
        """Freeze parts of `net`, see `freeze_parts`; None for none."""
        if parts is not None:
            self._frozen_batchnorm = freeze_parts(self.net, parts, head, train_batchnorm)
            self.train(self.training)

    def layer_numbers(self, head: str) -> dict[str, int]:
        """The layer of each parameter of `net`, counted from the input, by name, see `noisylab.models.layerwise`."""
        return layer_numbers(self.net, head)

    def rate_factors(self) -> dict[str, float]:
        """``layer_decay`` to the power of the distance from the head, by parameter name; empty for a `layer_decay` of 1."""
        if self.layer_decay == 1:
            return {}
        factors = layer_rates([name for name, _ in self.net.named_parameters()], self._layers, self.layer_decay)
        return {f"net.{name}": factor for name, factor in factors.items()}

    @property
    def head_name(self) -> str:
        """The name of the last layer."""
        return f"net.{self._head}" if self._head else super().head_name

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
