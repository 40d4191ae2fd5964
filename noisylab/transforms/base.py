"""What a view is, and views one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Tensor

from noisylab.transforms.draws import Draws

__all__ = ["Compose", "View", "constant"]


class View(ABC):
    """One way to look at a sample: a function of a batch and of keyed random draws.

    A view is a small picklable object with settings only. Every random decision of it comes from `draws`, and the number of
    calls to `draws` does not depend on the data, so a sample's view is the same in whatever batch or chunk it is built.
    The input is never changed; no value is read back from the device unless the view says so.
    """

    @abstractmethod
    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The view of each sample.

        Args:
            x: (B, C, H, W) uint8 or float images, or (B, D) float features, on any device.
            draws: the draws of these B samples, on the same device.

        Returns:
            A new tensor with B samples on the same device (an unchanged view may return `x` itself).
        """


class Compose(View):
    """Views applied in order; each draws after the one before it.

    Args:
        views: any number of views; with none, the input is returned.

    >>> from noisylab.transforms import RandomCrop, ToFloat
    >>> Compose(RandomCrop(4), ToFloat())
    Compose(RandomCrop(padding=4, fill=0), ToFloat(maximum=255.0))
    """

    def __init__(self, *views: View) -> None:
        self.views = views

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """All views of `x`, one on top of the other."""
        for view in self.views:
            x = view(x, draws)
        return x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compose) and self.views == other.views

    def __hash__(self) -> int:
        return hash(self.views)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.views))})"


@lru_cache(maxsize=128)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A vector of settings on a device, copied there once a process: a copy from the host for each batch would wait for it.

    The tensor is shared: never write to it.
    """
    # A tensor made under inference mode could not be used in a later autograd graph.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
