"""Color profiles embedded in pictures: colors are converted to sRGB, as viewers do."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageCms

__all__ = ["Profile", "profile_of", "to_srgb"]

Profile: TypeAlias = Literal["", "srgb", "other", "broken"]
"""What a picture brings: no profile, sRGB itself, another one, or one that cannot be used."""

_NEAR = 2  # levels of 255 within which a profile is sRGB: tables of few points are no nearer
_KEPT = 32  # profiles whose conversion is kept; the pictures of a camera share one
_MODES = {"RGB": ("1", "L", "RGB"), "GRAY": ("1", "L"), "CMYK": ("CMYK",)}  # of pictures without alpha, by space of the profile


class _Conversion(NamedTuple):
    """What becomes of the pixels of one mode.

    Args:
        kind: of the profile, for them.
        mode: that they are brought to before.
        transform: from there to sRGB, where any pixel changes.
    """

    kind: Profile
    mode: str = ""
    transform: Any = None


_BROKEN = _Conversion("broken")


def profile_of(info: Mapping[Any, Any], mode: str) -> Profile:
    """The color profile embedded in a picture.

    Args:
        info: of the picture, which need not be decoded.
        mode: likewise.
    """
    if mode == "LAB" or "icc_profile" not in info:
        return ""
    profile = info["icc_profile"]  # None where Pillow found it damaged
    return _conversion(profile, _colors(mode)).kind if isinstance(profile, bytes) and profile else "broken"


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture with its colors converted to sRGB; unchanged if they already are, or if the profile cannot be used.

    Args:
        image: of 8 bits a channel, with alpha or without.
        profile: that it brings, as in ICC.1.
    """
    if image.mode == "LAB":  # which depends on no device
        return image
    kind, mode, transform = _conversion(profile, _colors(image.mode))
    if kind != "other":
        return image
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        if image.mode in ("RGBa", "La"):
            image = image.convert(image.mode.upper())
        alpha = image.convert("RGBA").getchannel("A")
    shown: Image.Image | None = ImageCms.applyTransform(image.convert(mode), transform)
    assert shown is not None  # as a new picture was asked for
    if alpha is not None:
        shown.putalpha(alpha)
    return shown


def _colors(mode: str) -> str:
    """A mode without alpha, without a palette, and with 8 bits."""
    if mode[0] in "LIF":
        return "L"
    return mode if mode in ("1", "CMYK") else "RGB"


@lru_cache(maxsize=_KEPT)
def _conversion(profile: bytes, mode: str) -> _Conversion:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if mode not in _MODES.get(space, ()):
            return _BROKEN
        source = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space]
        intent = ImageCms.Intent.PERCEPTUAL
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), source, "RGB", intent)
        if source == "CMYK":
            return _Conversion("other", source, transform)
        probe = _probe(source)
        changed = ImageCms.applyTransform(probe, transform)
    except Exception:  # Pillow and the library behind it answer damage in many ways
        return _BROKEN
    difference = np.abs(np.asarray(changed, dtype=np.int16) - np.asarray(probe.convert("RGB"), dtype=np.int16)).max()
    return _Conversion("srgb" if difference <= _NEAR else "other", source, transform)


def _probe(mode: str) -> Image.Image:
    """All grays, and colors from all over the cube."""
    grays = np.arange(256, dtype=np.uint8)[None]
    if mode == "L":
        return Image.fromarray(grays)
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    return Image.fromarray(np.concatenate([np.repeat(grays[..., None], 3, -1), cube], axis=1))
