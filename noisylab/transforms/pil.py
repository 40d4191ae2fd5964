"""Views of large images, one at a time, in loader workers: a PIL image and a random generator in, a normalized tensor out."""

from __future__ import annotations

import importlib.util
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisylab.transforms.base import StrongView
from noisylab.transforms.draws import Draws

__all__ = ["PILAutoAugment", "PILEval", "PILPolicy", "PILRandAugment", "PILTrain", "PILView"]


class PILView(ABC):
    """One way to look at an image: a small picklable object; every random decision of it comes from the given generator."""

    @abstractmethod
    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """The view of one image.

        Args:
            image: any mode; converted to RGB.
            rng: the only source of random numbers; the same state gives the same picture.

        Returns:
            (3, H, W) float32, normalized, contiguous.
        """

    def at(self, epoch: int) -> PILView:
        """The view of an epoch, counted from 0; see `View.at`."""
        return self


class PILPolicy(ABC):
    """A random change of an RGB image that keeps its size."""

    @abstractmethod
    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The changed image; `image` itself is left as it is."""


@dataclass(frozen=True)
class PILTrain(PILView):
    """Resize the shorter side, flip, cut out a random square, apply a policy, normalize.

    Args:
        resize: length of the shorter side after resizing, in pixels.
        crop: side of the square, in pixels, at most `resize`.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        policy: applied to the square; `None` for a weak view. A view of batches is applied to a batch of one, so that every
            one of them serves for large images, with the same pixels.
        flip: probability of mirroring left to right.

    Raises:
        ValueError: if `crop` is larger than `resize`.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    policy: PILPolicy | StrongView | None = None
    flip: float = 0.5

    def __post_init__(self) -> None:
        require_fit(self.resize, self.crop)

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """(3, crop, crop) float32."""
        image = _resize_shorter(image.convert("RGB"), self.resize)
        mirrored = rng.random() < self.flip
        left, top = rng.randint(0, image.width - self.crop), rng.randint(0, image.height - self.crop)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = image.crop((left, top, left + self.crop, top + self.crop))
        if isinstance(self.policy, StrongView):
            draws = Draws(rng.getrandbits(63), torch.zeros(1, dtype=torch.int64))
            return normalized(self.policy(pixels_of(image)[None], draws)[0], self.mean, self.std)
        if self.policy is not None:
            image = self.policy(image, rng)
        return normalized(pixels_of(image), self.mean, self.std)

    def at(self, epoch: int) -> PILTrain:
        """The view with its policy of that epoch."""
        if not isinstance(self.policy, StrongView):
            return self
        return replace(self, policy=self.policy.at(epoch))


@dataclass(frozen=True)
class PILEval(PILView):
    """Resize the shorter side, cut out the central square, normalize; draws nothing.

    Args:
        resize: length of the shorter side after resizing, in pixels.
        crop: side of the square, in pixels, at most `resize`.
        mean: per channel, of pixels in [0, 1].
        std: likewise.

    Raises:
        ValueError: if `crop` is larger than `resize`.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        require_fit(self.resize, self.crop)

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """(3, crop, crop) float32."""
        image = _resize_shorter(image.convert("RGB"), self.resize)
        left, top = round((image.width - self.crop) / 2), round((image.height - self.crop) / 2)
        return normalized(pixels_of(image.crop((left, top, left + self.crop, top + self.crop))), self.mean, self.std)


@dataclass(frozen=True)
class PILRandAugment(PILPolicy):
    """`RandAugment` of the `randaugment` package: two of 15 operations, each with probability 1/2 and a level of 1..9.

    Raises:
        ImportError: when called without the package.
    """

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The changed image."""
        return _run_package("RandAugment", image, rng)


@dataclass(frozen=True)
class PILAutoAugment(PILPolicy):
    """`CIFAR10Policy` of the `randaugment` package: one of 25 sub-policies of two operations.

    Raises:
        ImportError: when called without the package.
    """

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The changed image."""
        return _run_package("CIFAR10Policy", image, rng)


def require_fit(resize: int, crop: int) -> None:
    """Refuse a square that is larger than the picture that it is cut out of.

    Raises:
        ValueError: naming both arguments.
    """
    if not 0 < crop <= resize:
        raise ValueError(f"resize={resize}, crop={crop}: the crop must be positive and at most as large as the resized side.")


def scaled_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of a picture whose shorter side is scaled to `side`."""
    length = max(side, int(side * max(width, height) / min(width, height)))
    return (side, length) if width <= height else (length, side)


def _resize_shorter(image: Image.Image, side: int) -> Image.Image:
    size = scaled_size(*image.size, side)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def pixels_of(image: Image.Image) -> Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalized(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(3, H, W) float32 of uint8 pixels, or of float ones in [0, 1]: less mean, divided by std."""
    top = 255 if pixels.dtype == torch.uint8 else 1
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    scale = torch.tensor([1 / (top * value) for value in std], dtype=torch.float32).view(-1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32).view(-1, 1, 1)
    return pixels.mul(scale).add_(shift)


class _Current(threading.local):
    """The generator of the call that runs in this thread."""

    rng: random.Random


class _PythonRandom:
    """Stands where the package uses the module `random`."""

    def __init__(self, current: _Current) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current.rng, name)


class _NumpyRandom:
    """Stands where the package uses `numpy.random`: `randint` is all it takes from there."""

    def __init__(self, current: _Current) -> None:
        self._current = current

    def randint(self, low: int, high: int) -> int:
        """An integer in low..high-1."""
        return self._current.rng.randrange(low, high)


class _Numpy:
    """Stands where the package uses `numpy`: with the alias `int`, which numpy 1.24 removed, and with our random numbers."""

    int = int

    def __init__(self, current: _Current) -> None:
        self.random = _NumpyRandom(current)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@lru_cache(maxsize=1)
def _package() -> tuple[ModuleType, _Current]:
    """A private copy of the package's module, in which `random` and `np` are ours; nobody else sees it changed."""
    try:
        spec = importlib.util.find_spec("randaugment.randaugment")
    except ImportError:
        spec = None
    if spec is None or spec.loader is None:
        raise ImportError(
            "The policies for large images come from the package randaugment, which is not installed: "
            'pip install "noisylab[views]".'
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    current = _Current()
    vars(module).update(random=_PythonRandom(current), np=_Numpy(current))
    return module, current


@lru_cache(maxsize=2)
def _policy(name: str) -> Callable[[Image.Image], Image.Image]:
    """One of the package's policies; kept, since RandAugment lists its 18 225 pairs of operations when it is made."""
    return getattr(_package()[0], name)()


def _run_package(name: str, image: Image.Image, rng: random.Random) -> Image.Image:
    _, current = _package()
    current.rng = rng
    return _policy(name)(image)
