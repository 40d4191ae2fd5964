"""The interface of a view, and the composition of views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from noisylab.transforms.draws import Draws

__all__ = ["Chain", "Compose", "StrongView", "View", "blocks", "constant", "to_device"]

_BLOCK = 1 << 18  # elements: a block of float32 and what it is made from stay in the second-level cache of a core


class View(ABC):
    """One way to augment a sample: a function of a batch and of keyed random draws.

    A view is a small picklable object with settings only. Every random decision of it comes from `draws`, and the number of
    calls to `draws` does not depend on the data, so a sample's view is the same in whatever batch or chunk it is built.
    The input is never changed, and no value is read back from the device, given draws that know their positions on the host.
    """

    @abstractmethod
    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """The view of each sample.

        Args:
            x: (B, C, H, W) uint8 or float images, or (B, D) float features, on any device.
            draws: the draws of these B samples, on the same device; give them `host` on a GPU.

        Returns:
            A new tensor with B samples on the same device (an unchanged view may return `x` itself).
        """

    def at(self, epoch: int) -> View:
        """The view of an epoch, counted from 0: this one, but for views whose strength changes over training.

        A data module asks for it with the epoch of the plan that it builds, so a resumed run sees what it would have seen.
        """
        return self


class StrongView(View):
    """A view that a data set of images can have as its "strong" one, between the random crop and the normalization.

    It takes (B, 1 or 3, H, W) uint8 images and returns them as uint8, or as floats in which white is 1.
    """

    def at(self, epoch: int) -> StrongView:
        """The view of an epoch; see `View.at`."""
        return self


@dataclass(frozen=True)
class Chain(StrongView):
    """Several strong views, one on top of the other: RandAugment, then Cutout, for example.

    Args:
        views: in the order of application, at least one. What makes floats of the pixels, as AugMix does, comes last, or before
            Cutout alone.

    Raises:
        ValueError: for an empty list.
        TypeError: for one of them that is no `StrongView`.
    """

    views: list[StrongView]

    def __hash__(self) -> int:
        return hash(tuple(self.views))

    def __post_init__(self) -> None:
        wrong = [view for view in self.views if not isinstance(view, StrongView)]
        if not self.views:
            raise ValueError("Chain: views must name at least one view, such as RandAugment or Cutout")
        if wrong:
            raise TypeError(f"Chain: views must be views of images such as RandAugment or Cutout, got {wrong[0]!r}")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """All views of `x`, one on top of the other."""
        for view in self.views:
            x = view(x, draws)
        return x

    def at(self, epoch: int) -> Chain:
        """Its views of that epoch."""
        return Chain([view.at(epoch) for view in self.views])


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

    def at(self, epoch: int) -> Compose:
        """Its views of that epoch."""
        return Compose(*(view.at(epoch) for view in self.views))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compose) and self.views == other.views

    def __hash__(self) -> int:
        return hash(self.views)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.views))})"


@lru_cache(maxsize=128)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A vector of settings on a device, copied there once per process: a copy from the host for every batch would wait for it.

    The tensor is shared: never write to it.
    """
    # A tensor made under inference mode could not be used in a later autograd graph.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device, if it is not there already, without waiting for the copy.

    A copy to CUDA from ordinary memory would first wait for all that the device has to do: it goes over page-locked memory.
    """
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and not x.is_cuda else x.to(device)


def blocks(x: Tensor) -> list[slice]:
    """Consecutive blocks of samples to process in turn, sized for a CPU's cache; the whole batch on other devices.

    >>> blocks(torch.zeros(200, 3, 32, 32))
    [slice(0, 85, None), slice(85, 170, None), slice(170, 200, None)]
    """
    length = max(1, _BLOCK // max(1, x[:1].numel())) if x.device.type == "cpu" else max(1, len(x))
    return [slice(start, min(start + length, len(x))) for start in range(0, len(x), length)]
