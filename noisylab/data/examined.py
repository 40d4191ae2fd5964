"""Checks before training that image files can be read completely, and remembers the result."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import PIL

from noisylab.data.caches import cache_folder, progress_bar, stamp
from noisylab.data.identity import depth_from
from noisylab.data.imagelist import ImageList
from noisylab.data.notes import note
from noisylab.data.pictures import Depth, Head, StoredPicture, UnreadableImage, depth_of, fault_of
from noisylab.files import atomic_path

__all__ = ["Seen", "beyond", "common_depth", "examine", "unreadable", "with_depth"]

_THREADS = 8  # decoders run side by side
_LARGE = 2**25  # pixels, of 4 bytes each once decoded
_FORMAT = f"noisylab images 1 {PIL.__version__}\n".encode()  # another decoder finds other faults
_KEY = 16  # bytes of a digest
_RECORD = _KEY + 2
_DIGEST = hashlib.sha256().digest_size


class Seen(NamedTuple):
    """The result of decoding an image file.

    Args:
        fault: why it cannot be read, with its name; empty if it can.
        depth: of one with more than 8 bits, else `None`.
    """

    fault: str
    depth: Depth | None


def examine(images: ImageList, allow_truncated: bool, heads: Sequence[Head] | None = None) -> list[Seen]:
    """Decode all images, except those that were found good before and have not changed since.

    Good files are remembered by path, size and times of change, pictures in a table by content, in ``$NOISYLAB_CACHE/images`` or,
    without that variable, ``~/.cache/noisylab/images``: 18 bytes each. Files that changed a moment ago are not, see `stamp`.
    Where nothing can be written there, the next run decodes them again.

    Args:
        images: N images.
        allow_truncated: see `open_image`.
        heads: (N) what their first bytes say; images that are large in memory are then decoded one after the other.

    Returns:
        (N) what came of each.
    """
    file = _cache_file(images)
    known, paths = _read(file), images.paths
    keys = [_key(path, allow_truncated) for path in paths]
    found = {place: known[key] for place, key in enumerate(keys) if key in known}
    places = [place for place in range(len(images)) if place not in found]
    large = {place for place in places if heads is not None and heads[place].width * heads[place].height > _LARGE}
    ordered = [*(place for place in places if place not in large), *sorted(large)]
    seen = dict(zip(ordered, _decoded([paths[place] for place in ordered], len(large), allow_truncated), strict=True))
    good = {keys[place]: _packed(one.depth) for place, one in seen.items() if not one.fault and keys[place]}
    if good:
        with contextlib.suppress(OSError):  # costs the next run time and nothing else
            _write(file, known | good)
    return [seen[place] if place in seen else Seen("", _unpacked(found[place])) for place in range(len(images))]


def unreadable(images: ImageList, allow_truncated: bool) -> list[str]:
    """(N) the reason why an image cannot be read completely, with its file; empty if it can. See `examine`."""
    return [seen.fault for seen in examine(images, allow_truncated)]


def common_depth(seen: Sequence[Seen]) -> Depth | None:
    """The bits in use of all images with more than 8; `None` where there are none."""
    depths = [one.depth for one in seen if one.depth is not None]
    joined = depths[0] if depths else None
    for depth in depths[1:]:
        joined = depth if joined is None else joined.joined(depth)
    return joined


def with_depth(
    parts: Sequence[ImageList],
    heads: Sequence[Sequence[Head]],
    allow_truncated: bool,
    seen: Sequence[Sequence[Seen]] | None = None,
    adopted: Mapping[str, Any] | None = None,
) -> tuple[list[ImageList], Depth | None]:
    """The bits that the pictures of a data set are scaled by, and their lists with notes of it.

    They are those in use in the training images, or in those of the model whose data these are.

    Args:
        parts: the training images and perhaps the test images.
        heads: for each list, what the first bytes of its images say.
        allow_truncated: see `open_image`.
        seen: for each list, what came of decoding its images; `None` decodes those that may have more than 8 bits.
        adopted: record of the model, see `FittedData.adopt`.
    """
    known: Sequence[Sequence[Seen] | None] = [None] * len(parts) if seen is None else seen
    lists = list(parts)
    if adopted is None:
        lists[0], depth = _measured(parts[0], heads[0], allow_truncated, known[0])
    else:
        depth = depth_from(adopted["measured"]["depth"])
    for place in range(adopted is None, len(parts)):
        lists[place] = beyond(parts[place], heads[place], allow_truncated, depth, known[place])
    return lists, depth


def _measured(
    images: ImageList, heads: Sequence[Head], allow_truncated: bool, seen: Sequence[Seen] | None
) -> tuple[ImageList, Depth | None]:
    """The bits in use, with a note of them."""
    places = [place for place, head in enumerate(heads) if head.deep]
    if not places:
        return images, None
    depth = common_depth(examine(images.take(places), allow_truncated) if seen is None else seen)
    if depth is None:
        return images, None
    used = f"{depth.whole} bits" if depth.whole > 8 or not depth.real else f"{depth.real} bits"
    many = f"{len(places):,} image{'s' * (len(places) > 1)} of {images.where}"
    return images.noted(f"{many} with more than 8 bits: scaled alike, by the {used} of the largest value"), depth


def beyond(
    images: ImageList, heads: Sequence[Head], allow_truncated: bool, depth: Depth | None, seen: Sequence[Seen] | None = None
) -> ImageList:
    """A list with a note, which is also a warning, about images that do not fit the bit depth of the others.

    Args:
        images: N images.
        heads: (N) what their first bytes say.
        allow_truncated: see `open_image`.
        depth: of the training images, by which these are scaled; `None` where those have 8 bits.
        seen: (N) what came of decoding them; `None` decodes those that may have more than 8 bits.
    """
    places = [place for place, head in enumerate(heads) if head.deep]
    if not places:
        return images
    looked = examine(images.take(places), allow_truncated) if seen is None else [seen[place] for place in places]
    found = [(heads[place], one.depth) for place, one in zip(places, looked, strict=True) if one.depth is not None]
    if depth is None:
        wide = sum(own.whole > 8 or own.real > 8 for _, own in found)
        told = [(wide, "more than 8 bits, unlike the training images: each is scaled by its own largest value; save with 8 bits")]
    else:
        white = sum(own.whole > depth.whole or own.real > depth.real for _, own in found)
        black = sum(head.mode[0] == "F" and own == Depth() and depth.real > 0 for head, own in found)
        bits = depth.real if depth.real and depth.whole == 8 else depth.whole
        most = f"the {bits} bits that the training images use" if bits > 8 or depth.real else "the values of the training images"
        told = [
            (white, f"values beyond {most}, shown white: scale them as those were, or train on images as bright as these"),
            (black, f"fractions of 1, shown black: the training images use {depth.real} bits; scale them as those were"),
        ]
    for many, what in told:
        if many:
            text = f"{many:,} image{'s' * (many > 1)} of {images.where} {'have' if many > 1 else 'has'} {what}"
            note(text)
            images = images.noted(text)
    return images


def _decoded(paths: Sequence[str], large: int, allow_truncated: bool) -> list[Seen]:
    """What came of each file, the last `large` of which are decoded one after the other."""

    def look(path: str) -> Seen:
        try:
            return Seen("", depth_of(path, allow_truncated=allow_truncated))
        except UnreadableImage as error:
            return Seen(fault_of(error), None)

    seen = []
    many = len(paths) - large
    with progress_bar(len(paths), "images checked", "image") as advance, ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for one in chain(pool.map(look, paths[:many]), map(look, paths[many:])):
            seen.append(one)
            advance(1)
    return seen


# ---- what is remembered


def _cache_file(images: ImageList) -> Path:
    return cache_folder("images") / f"{hashlib.sha256(os.fsencode(os.path.realpath(images.folder))).hexdigest()[:32]}.seen"


def _key(path: str, allow_truncated: bool) -> bytes:
    """Empty for a file that is not there, or changed a moment ago."""
    if isinstance(path, StoredPicture):
        return hashlib.sha256(path.content + f"\0{allow_truncated}".encode()).digest()[:_KEY]
    told = stamp(path)
    return hashlib.sha256(f"{told}\0{allow_truncated}".encode()).digest()[:_KEY] if told else b""


def _packed(depth: Depth | None) -> bytes:
    return b"\0\0" if depth is None else bytes(depth)


def _unpacked(value: bytes) -> Depth | None:
    return Depth(*value) if value[0] else None


def _read(file: Path) -> dict[bytes, bytes]:
    """Two bytes for each good file by its key; empty for a file that is not there, of another version, or damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return {}
    body = content[:-_DIGEST]
    if not body.startswith(_FORMAT) or hashlib.sha256(body).digest() != content[-_DIGEST:]:
        return {}
    starts = range(len(_FORMAT), len(body), _RECORD)
    return {body[start : start + _KEY]: body[start + _KEY : start + _RECORD] for start in starts}


def _write(file: Path, records: dict[bytes, bytes]) -> None:
    body = _FORMAT + b"".join(key + value for key, value in records.items())
    with atomic_path(file) as partial:
        partial.write_bytes(body + hashlib.sha256(body).digest())
