"""Opens image files as a viewer shows them; pictures are opened nowhere else."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin

from noisylab.data.depths import ADVICE, Depth, Pixels, UnreadableImage, bits_in_use, scaled_colors, scaled_grays
from noisylab.data.profiles import Profile, profile_of, to_srgb

__all__ = [
    "Depth",
    "Head",
    "StoredPicture",
    "UnreadableImage",
    "depth_of",
    "fault_of",
    "head_of",
    "looks_like_image",
    "open_image",
    "open_reduced",
    "suffixes",
]

# Formats of pictures. Pillow knows more: drawings that it hands to other programs, films, scientific arrays.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF"),
    *("PPM", "JPEG2000", "ICO", "PCX", "QOI", "SGI", "SUN"),
    "HEIF",  # where somebody has registered a reader, as the package pillow-heif does
)
_UNMARKED = ("TGA",)  # nothing in its first bytes says so: believed only by suffix
_REFUSED_SUFFIXES = frozenset({".rgb", ".cur", ".avifs"})
_LARGE, _LARGEST = 89_478_485, 178_956_970  # pixels from which Pillow warns of a file, and refuses it
_FACTORS = (1, 2, 4, 8)  # by which a JPEG can be decoded smaller
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OTHERS = (  # what is often found under the name of an image
    (b"version https://git-lfs", "is a pointer of Git LFS; fetch the file with git lfs pull"),
    (b"<!DOCTYPE", "is a web page"),
    (b"<html", "is a web page"),
    (b"<?xml", "is XML, perhaps a drawing; save it as PNG"),
    (b"<svg", "is an SVG drawing; save it as PNG"),
    (b"%PDF", "is a PDF document"),
    (b"PK\x03\x04", "is an archive"),
    (b"\x1f\x8b", "is an archive"),
)
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_WIDE = ("RGB;16", "RGBX;16", "RGBA;16", "LA;16")  # color that Pillow reads with 8 of its 16 bits

Times: TypeAlias = Callable[[int, int], float]
"""Given the width and height of a picture as shown, by how many times smaller it may be decoded."""


class StoredPicture(str):
    """The name of a picture together with the content of its file, which lies elsewhere; the functions here take it for a path.

    Args:
        name: for messages.
        content: of the file.
    """

    content: bytes

    def __new__(cls, name: str, content: bytes) -> StoredPicture:
        """A string with the content beside it."""
        picture = super().__new__(cls, name)
        picture.content = content
        return picture


class Head(NamedTuple):
    """The information in the first bytes of an image file.

    Args:
        width: as shown, so after the turn that the file asks for.
        height: likewise.
        mode: Pillow's; "LA" for gray pictures of 16 bits with transparency.
        deep: whether a channel may have more than 8 bits.
        frames: whether there are further frames than the first.
        profile: the color profile that it brings.
    """

    width: int
    height: int
    mode: str
    deep: bool = False
    frames: bool = False
    profile: Profile = ""

    @property
    def gray(self) -> bool:
        """Whether the image has no color."""
        return self.mode in ("1", "L", "LA", "La") or self.mode[0] in "IF"


def suffixes() -> frozenset[str]:
    """Endings of image files that the Pillow on this machine can read, in lower case."""
    readable = {*_readable(), "MPO"}  # what opens a JPEG opens these, too
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in readable}
    return frozenset(known) - _REFUSED_SUFFIXES


def looks_like_image(first: bytes) -> bool:
    """Whether a file with these first 16 bytes may be an image that can be read, whatever its name."""
    return next(_takers(first), None) is not None


def open_image(path: str, mode: str = "RGB", *, allow_truncated: bool = False, depth: Depth | None = None) -> Image.Image:
    """The file as an image of one mode, completely read, as a viewer shows it.

    It is turned as its EXIF orientation asks, transparent parts show white, palettes and other color models become RGB, colors of
    another profile become sRGB (one that cannot be used is ignored), and of several frames it is the first. Channels of more than
    8 bits are scaled by `depth`. A JPEG of more than 89 million pixels is decoded at half, a quarter or an eighth of its size;
    others of more than 179 million are refused.

    Args:
        path: the file.
        mode: "RGB", or "L" for one gray channel.
        allow_truncated: fill up a JPEG file that ends early with gray instead of refusing it.
        depth: common to the pictures of a data set, see `Depth`; `None` for the file's own.

    Raises:
        UnreadableImage: naming the file, when it cannot be read, ends early, or has values that are no brightness.
    """
    return _shown(_load(path, allow_truncated), path, mode, depth)


def open_reduced(
    path: str, times: Times, *, allow_truncated: bool = False, depth: Depth | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture of `open_image` in RGB, a JPEG perhaps decoded at a half, a quarter or an eighth of its size, which is faster.

    Args:
        path: the file.
        times: how much smaller it may be, given its width and height; the largest of 1, 2, 4 and 8 up to that is chosen.
        allow_truncated: see `open_image`.
        depth: likewise.

    Returns:
        The picture, and the width and height that it has at full size.

    Raises:
        UnreadableImage: where `open_image` would.
    """
    loaded = _load(path, allow_truncated, times)
    return _shown(loaded, path, "RGB", depth), loaded.size


def depth_of(path: str, *, allow_truncated: bool = False) -> Depth | None:
    """Decode the file completely and return its depth, `None` for 8 bits.

    Decoders work at an eighth of the size where they can, which takes half of the time and finds the same faults.

    Raises:
        UnreadableImage: where `open_image` would.
    """
    loaded = _load(path, allow_truncated, lambda width, height: 8)
    if loaded.wide is not None or loaded.image.mode[0] in "IF":
        return bits_in_use(np.asarray(loaded.image) if loaded.wide is None else loaded.wide, path)
    _shown(loaded, path, "RGB", None)
    return None


def head_of(path: str) -> Head | str:
    """The information in the first bytes, or a description of what is wrong with the file."""
    try:
        with _opened(path, getattr(path, "content", None)) as image:
            # Pillow has turned a TIFF already
            width, height = _upright(image.size, 1 if image.format == "TIFF" else _orientation(image))
            raw = _raw_modes(image)
            deep = image.mode[0] in "IF" or any(name.startswith(_WIDE) for name in raw)
            frames = image.format in ("GIF", "TIFF", "WEBP", "PNG", "AVIF") and bool(getattr(image, "is_animated", False))
            mode = "LA" if raw == ["LA;16B"] else image.mode
            return Head(width, height, mode, deep, frames, profile_of(image.info, mode))
    except FileNotFoundError:
        return "does not exist"
    except _NotAnImage as error:
        return str(error)
    except Exception:  # decoders answer damage in many ways
        return "is not an image"


def fault_of(error: ValueError) -> str:
    """The fault that `open_image` finds in a file, without the advice, which is given once for all files."""
    return str(error).removesuffix(ADVICE)


# ---- opening


class _NotAnImage(OSError):
    """A file that holds no image that can be read here; the message is what it holds instead."""


class _Loaded(NamedTuple):
    """A decoded image, the turn from 1 to 8 that it still asks for, its channels where they have 16 bits (`_wide`), and its full
    width and height as shown."""

    image: Image.Image
    turn: int
    wide: Pixels | None
    size: tuple[int, int]


def _readable() -> dict[str, Any]:
    """Formats that can be read here, with what opens them."""
    Image.init()
    # Pillow registers what reads a format even where the library for it is missing; such files then fail by name
    return {name: Image.OPEN[name] for name in (*_FORMATS, *_UNMARKED) if name in Image.OPEN}


def _takers(first: bytes, suffix: str = "") -> Iterator[Any]:
    """What may open a file with these first bytes."""
    for name, (factory, accept) in _readable().items():
        if name in _UNMARKED:
            if Image.EXTENSION.get(suffix) == name:
                yield factory
            continue
        taken = False
        with contextlib.suppress(IndexError, struct.error):  # of a file of few bytes
            taken = accept is None or accept(first) is True
        if taken:
            yield factory


@contextlib.contextmanager
def _opened(path: str, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    """`Image.open` for the formats of pictures, without its limit on pixels: a warning or an error, common to a process."""
    if content is None and not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise _NotAnImage("is not a regular file")  # reading a pipe would wait for ever
    with io.BytesIO(content) if content is not None else Path(path).open("rb") as file:
        first = file.read(32)
        for factory in _takers(first, Path(path).suffix.lower()):
            file.seek(0)
            try:
                image = factory(file, path)
            except (SyntaxError, IndexError, TypeError, KeyError, struct.error):
                continue
            yield image
            return
    raise _NotAnImage(_other(first))


def _other(first: bytes) -> str:
    if not first:
        return "is empty"
    if first[4:8] == b"ftyp" and first[8:12] in _HEIF:
        return "is an HEIC image, which cannot be read here; save it as JPEG or PNG"
    if first[4:8] == b"ftyp" and first[8:12] in (b"avif", b"avis"):
        return "is an AVIF image, which this Pillow cannot read; install Pillow 11.3 or newer"
    return next((what for start, what in _OTHERS if first.lower().startswith(start.lower())), "is not an image")


def _load(path: str, allow_truncated: bool, times: Times | None = None) -> _Loaded:
    """The decoded first frame."""
    stored: bytes | None = getattr(path, "content", None)
    try:
        return _decoded(path, stored, times)
    except Exception as error:  # decoders answer damage in many ways: OSError, struct.error, IndexError, EOFError ...
        content = b""
        if allow_truncated:
            content = stored or (Path(path).read_bytes() if Path(path).is_file() else b"")
        if content.startswith(_JPEG_START):
            # The decoder fills what is missing once it meets the end marker; Pillow's own switch would be global.
            with contextlib.suppress(Exception):
                return _decoded(path, content + _JPEG_END, times)
        reason = f"it {error}" if isinstance(error, _NotAnImage) else str(error) or type(error).__name__
        raise UnreadableImage(f"cannot read the image {path}: {reason}{ADVICE}") from error


def _decoded(path: str, content: bytes | None, times: Times | None) -> _Loaded:
    with _opened(path, content) as image:
        size = image.size
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            size = _upright(size, _orientation(image))
            factor = _factor(size, 1 if times is None else times(*size))
            if factor > 1:
                image.draft(None, (max(image.width // factor, 1), max(image.height // factor, 1)))
        if image.width * image.height > _LARGEST:
            many = f"{image.width:,} x {image.height:,} pixels"
            raise OSError(f"it has {many}, and more than {_LARGEST // 10**6} million are not decoded; save it smaller")
        wide = any(name.startswith(_WIDE) for name in _raw_modes(image))
        image.load()
        turn = _orientation(image)  # after load, which turns a TIFF itself
        channels = None
        if wide:
            with _opened(path, content) as again:
                channels = _wide(image, again)
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            size = _upright(image.size, turn)
        return _Loaded(image, turn, channels, size)


def _factor(size: tuple[int, int], times: float) -> int:
    """By how much smaller a JPEG is decoded, if it may be so many times smaller."""
    least = next((factor for factor in _FACTORS if size[0] * size[1] <= _LARGE * factor**2), _FACTORS[-1])
    return max(least, *(factor for factor in _FACTORS if factor <= max(times, 1)))


def _upright(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Width and height after a turn, 1 to 8 as in EXIF."""
    return (size[1], size[0]) if turn >= 5 else size


def _orientation(image: Image.Image) -> int:
    """1 to 8, as in EXIF."""
    try:
        turn = Image.Image.getexif(image).get(0x0112, 1)  # a PNG's own would decode all of it to look behind the pixels
    except Exception:  # a damaged EXIF block says nothing, and the pixels are there all the same
        return 1
    return turn if turn in _TURNS else 1


def _raw_modes(image: Image.Image) -> list[str]:
    """How the pixels of each part of the file lie in it."""
    found = []
    for tile in getattr(image, "tile", ()):
        args = tile[3]
        found.append(str(args[0] if isinstance(args, tuple | list) and args else args))
    return found


def _wide(high: Image.Image, image: ImageFile.ImageFile) -> Pixels:
    """(H, W, 1 to 4) uint16 channels of a color image, of which Pillow keeps the high bytes alone.

    Read in the other order of bytes, the same file gives the low bytes.

    Args:
        high: the image as read.
        image: the file, opened anew.
    """
    other = {"N": "B" if np.little_endian else "L", "L": "B", "B": "L"}
    names, tiles = _raw_modes(image), []
    for tile, name in zip(image.tile, names, strict=True):
        raw = "RGBA" if name == "LA;16B" else name[:-1] + other[name[-1]]
        args = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
        tiles.append(tile._replace(args=args))
    image.tile = tiles
    low = np.asarray(image)
    if names == ["LA;16B"]:  # read as four bytes: gray high and low, alpha high and low
        pairs = low.astype(np.uint16)
        return pairs[..., ::2] << 8 | pairs[..., 1::2]
    return np.asarray(high).astype(np.uint16) << 8 | low


# ---- showing


def _shown(loaded: _Loaded, path: str, mode: str, depth: Depth | None) -> Image.Image:
    image, turn, wide, _ = loaded
    profile = image.info.get("icc_profile")
    try:
        if wide is not None:
            image = scaled_colors(image, wide, bits_in_use(wide, path) if depth is None else depth)
        elif image.mode[0] in "IF":
            image = scaled_grays(image, bits_in_use(np.asarray(image), path) if depth is None else depth)
        if profile:
            image = to_srgb(image, profile)
        if image.mode in _ALPHA or "transparency" in image.info:
            image = _on_white(image)
        elif image.mode == "LAB":
            profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, *profiles, outputMode="RGB") or image
        image = image if image.mode == mode else image.convert(mode)
        image.info.pop("icc_profile", None)  # or whoever saves the picture would save it, too, for colors that it is not of
        return image.transpose(_TURNS[turn]) if turn > 1 else image
    except UnreadableImage:
        raise
    except Exception as error:  # a palette that is missing, a color model without a way to RGB
        raise UnreadableImage(f"cannot read the image {path}: {error or type(error).__name__}{ADVICE}") from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode.upper())
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
