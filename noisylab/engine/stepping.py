"""The interface that the training loop requires of a method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

__all__ = ["Stepping"]


class Stepping(Protocol):
    """A LightningModule whose optimizers `noisylab.engine.step` steps: `noisylab.methods.NoisyLabelMethod` is one.

    Attributes:
        networks: by name.
        automatic_optimization: Lightning's switch; False for methods that call `noisylab.engine.step.step` themselves.
        steps_bare: whether gradients and optimizers are left to torch alone, see `noisylab.engine.step.steps_bare`.
        pending_gradients: whether gradients wait for others that are to be added.
    """

    networks: nn.ModuleDict
    automatic_optimization: bool
    steps_bare: bool
    pending_gradients: bool

    @property
    def trainer(self) -> Any:
        """Lightning's Trainer."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        ...

    @property
    def current_epoch(self) -> int:
        """The number of the current epoch, counted from 0."""
        ...

    @property
    def optimizer_names(self) -> tuple[str, ...]:
        """Names of the optimizers, in the order of ``configure_optimizers``."""
        ...

    @property
    def resting(self) -> tuple[str, ...]:
        """Names of the optimizers that do not step in the current epoch."""
        ...

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Lightning's hook."""
        ...

    def wrapped_optimizers(self) -> dict[str, LightningOptimizer]:
        """Lightning's optimizers by name."""
        ...

    def manual_backward(self, loss: Tensor) -> None:
        """Lightning's backward pass."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear all gradients."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The parameters of the networks, and of whatever is trained along with them."""
        ...
