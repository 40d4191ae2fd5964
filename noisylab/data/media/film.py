"""Takes a few frames of a film, as square JPEG pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from noisylab.data.media.faults import UnreadableMedia, needed
from noisylab.data.media.frontend import Array

__all__ = ["chosen", "frames_of"]

_QUALITY = 95  # of JPEG


def chosen(count: int, frames: int) -> list[int]:
    """Which of the `count` frames of a clip are taken: frame j of F is number floor((j + 1/2) count / F).

    Fewer frames than F are taken several times.

    Example:
        >>> chosen(100, 3), chosen(132, 10)
        ([16, 50, 83], [6, 19, 33, 46, 59, 72, 85, 99, 112, 125])
    """
    return [(2 * j + 1) * count // (2 * frames) for j in range(frames)]


def frames_of(content: bytes, frames: int, side: int) -> dict[str, Array]:
    """What is kept of a film: "jpeg", the bytes of the pictures of `chosen` frames one after the other; "offsets", (F + 1,) int64
    where each begins; "times", (F,) float64 seconds from the film's beginning at which they are shown.

    A picture is the middle square of the frame, as high as it, resized.

    Args:
        content: of the file.
        frames: F.
        side: of the square, in pixels.

    Raises:
        UnreadableMedia: saying why it cannot be decoded.
        ModuleNotFoundError: without the extra `media`.
    """
    av = needed("av")
    try:
        with av.open(io.BytesIO(content)) as container:
            if not container.streams.video:
                raise UnreadableMedia("has no pictures")
            count = sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
        wanted = chosen(count, frames)
        with av.open(io.BytesIO(content)) as container:
            taken = _taken(container, set(wanted))
    except av.FFmpegError as error:
        raise UnreadableMedia(f"has pictures that cannot be decoded ({error})") from error
    missing = [place for place in wanted if place not in taken]
    if missing or not count:
        raise UnreadableMedia(f"has pictures that cannot be decoded: of {count} frames, number {(missing or [0])[0]} is missing")
    pictures = [_jpeg(taken[place][1], side) for place in wanted]
    return {
        "jpeg": np.frombuffer(b"".join(pictures), dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, pictures)], dtype=np.int64),
        "times": np.array([taken[place][0] for place in wanted]),
    }


def _taken(container: Any, wanted: set[int]) -> dict[int, tuple[float, Image.Image]]:
    """Time and picture of the wanted frames, by number; none after a damaged one."""
    stream, found = container.streams.video[0], {}
    stream.codec_context.options = {"err_detect": "explode"}  # else damage is painted over
    stream.codec_context.thread_count = 1  # other films are decoded at the same time
    start = float((stream.start_time or 0) * stream.time_base)
    for number, frame in enumerate(container.decode(stream)):
        if frame.is_corrupt:
            break
        if number in wanted:
            found[number] = (float(frame.time or 0.0) - start, frame.to_image())
            if len(found) == len(wanted):
                break
    return found


def _jpeg(image: Image.Image, side: int) -> bytes:
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    square = image.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + edge, top + edge))
    with io.BytesIO() as file:
        square.save(file, format="JPEG", quality=_QUALITY)
        return file.getvalue()
