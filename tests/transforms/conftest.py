from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    turned = image.convert("RGBA").rotate(degrees)
    return Image.composite(turned, Image.new("RGBA", turned.size, (128,) * 4), turned).convert(image.mode)


def _affine(image: Image.Image, matrix: tuple[float, ...], resample: int = Image.Resampling.NEAREST) -> Image.Image:
    fill = (128,) * len(image.getbands())
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling(resample), fillcolor=fill)


def _cutout(image: Image.Image, size: float, place: tuple[int, int]) -> Image.Image:
    half, (row, column), image = int(size) // 2, place, image.copy()
    if half:
        box = (column - half, row - half, column + half - 1, row + half - 1)
        color = Image.new("RGB", (1, 1), (125, 122, 113)).convert(image.mode).getpixel((0, 0))
        ImageDraw.Draw(image).rectangle(box, fill=color)
    return image


_CUBIC = Image.Resampling.BICUBIC
_OPERATIONS: dict[str, Callable[..., Image.Image]] = {
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "invert": lambda image, v: ImageOps.invert(image),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "rotate": _rotate,
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "shearX": lambda image, v: _affine(image, (1, v, 0, 0, 1, 0), _CUBIC),
    "shearY": lambda image, v: _affine(image, (1, 0, 0, v, 1, 0), _CUBIC),
    "solarize": ImageOps.solarize,
    "translateX": lambda image, v: _affine(image, (1, 0, v * image.width, 0, 1, 0)),
    "translateY": lambda image, v: _affine(image, (1, 0, 0, 0, 1, v * image.height)),
}


def _oracle(name: str, x: Tensor, magnitude: float, place: tuple[int, int] = (0, 0)) -> Tensor:
    image = Image.fromarray(x.permute(1, 2, 0).squeeze(2).numpy().copy())
    changed = _cutout(image, magnitude, place) if name == "cutout" else _OPERATIONS[name](image, magnitude)
    return torch.from_numpy(np.array(changed)).view(*x.shape[1:], x.shape[0]).permute(2, 0, 1)


@pytest.fixture(scope="session")
def pil_operation() -> Callable[..., Tensor]:
    """(name, (C, H, W) uint8, magnitude, place) -> what PIL makes of it, called as the randaugment package calls it."""
    return _oracle


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Tensor]:
    """(n, height, width) -> noise, smooth pictures and dull ones, and some constant planes."""

    def make(n: int, height: int = 32, width: int = 32, channels: int = 3) -> Tensor:
        generator = torch.Generator().manual_seed(n * 1000 + height)
        shape = (n, channels, height, width)
        noise = torch.rand(shape, generator=generator) * 256
        small = torch.rand((n, channels, 4, 4), generator=generator) * 330 - 40
        smooth = torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 255)
        dull = noise * 0.2 + 200 * torch.rand((n, channels, 1, 1), generator=generator)
        kind = (torch.arange(n) % 4).view(-1, 1, 1, 1)
        x = torch.where(kind == 0, noise, torch.where(kind == 1, dull, smooth)).to(torch.uint8)
        x[n // 2] = 7
        x[n // 3, 0] = 200
        return x

    return make
