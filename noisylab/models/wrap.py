"""Networks from outside the library."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from noisylab.models.network import Network
from noisylab.types import Inputs

__all__ = ["Wrap"]


class Wrap(Network):
    """An outside network, made by `factory(num_classes=num_classes, **kwargs)`.

    The factory is kept by its import path, which is what a checkpoint and a recipe can store.

    Args:
        num_classes: K.
        factory: import path "package.module.name" of a class or function that returns a module, or that class or
            function itself. It takes the number of classes as `num_classes`.
        kwargs: further arguments of the factory.

    Raises:
        ValueError: the factory cannot be imported by its path, as a lambda or a function inside another cannot.
        TypeError: the factory does not take these arguments or returns no module.

    Example:
        >>> import torch
        >>> net = Wrap(num_classes=10, factory="torchvision.models.squeezenet1_1", dropout=0.2)
        >>> net(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, factory: str | Callable[..., nn.Module], **kwargs: Any) -> None:
        super().__init__(num_classes)
        self.factory = factory if isinstance(factory, str) else _import_path(factory)
        make = _imported(self.factory)
        _check_arguments(make, self.factory, {"num_classes": num_classes, **kwargs})
        net = make(num_classes=num_classes, **kwargs)
        if not isinstance(net, nn.Module):
            raise TypeError(f"factory {self.factory} must return a torch.nn.Module, got {type(net).__name__}")
        self.net = net

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) for inputs that the outside network accepts.

        Raises:
            TypeError: the outside network returns something else than one tensor.
            ValueError: the tensor has another shape.
        """
        logits = self.net(inputs)
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"the network of {self.factory} must return one tensor of shape (B, {self.num_classes}), "
                f"got {type(logits).__name__}; write a factory whose network returns the logits alone"
            )
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(
                f"the network of {self.factory} must return logits of shape (B, {self.num_classes}), got "
                f"{tuple(logits.shape)}; make its factory use num_classes={self.num_classes} as the width of the output"
            )
        return logits


def _import_path(factory: Callable[..., nn.Module]) -> str:
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
    if module is None or name is None or "<" in name:
        raise ValueError(
            f"factory={factory!r} cannot be stored in a checkpoint; define a function or class at the top level of a "
            "module and pass that, with what it needs as further arguments of Wrap"
        )
    path = f"{module}.{name}"
    if _imported(path) is not factory:
        raise ValueError(f"factory={factory!r} is not what {path} imports; pass the import path of the right one")
    return path


def _imported(path: str) -> Callable[..., Any]:
    try:
        made = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"factory={path!r} cannot be imported ({error}); give the path as 'package.module.name' and check that the "
            "package is installed or in the working folder"
        ) from error
    if not callable(made):
        raise TypeError(f"factory={path!r} must be a class or function, got {type(made).__name__}")
    return made


def _check_arguments(make: Callable[..., Any], path: str, arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(make)
    except ValueError:
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise TypeError(
            f"factory {path}{signature} cannot be called with {sorted(arguments)}: {error}; "
            "write a function at the top level of a module that takes num_classes and calls it"
        ) from error
