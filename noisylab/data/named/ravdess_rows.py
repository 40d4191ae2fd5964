"""The rows of RAVDESS: pictures, spectrograms around them and statistics, out of what was decoded of each clip."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisylab.data.media.frontend import FRAME_RATE, RATE, WINDOW, Array
from noisylab.data.media.rows import SharedRows, WindowRows
from noisylab.data.named.pixels import check_room
from noisylab.data.rows import DenseRows, MultiRows, OneInput, RowStore

__all__ = ["INPUTS", "clip_rows", "stores_of"]

INPUTS = ("image", "audio", "stats", "frames")
_LENGTH = 96  # frames of a spectrogram in a row: 0.96 s
_THREADS = 8  # that decode pictures

Parts = Sequence[Mapping[str, Array]]


def clip_rows(inputs: Sequence[str], sound: Parts, film: Parts, each: int, side: int) -> RowStore:
    """The rows of some clips, those of a clip one after the other.

    Args:
        inputs: names out of `INPUTS`; several give `MultiRows`.
        sound: of each clip what `spectrogram_of` gives; empty if no input needs it.
        film: of each clip what `frames_of` gives; likewise.
        each: rows of a clip, the frames of its film, or 1.
        side: of the pictures, in pixels.

    Raises:
        ValueError: for pictures that do not fit into memory.
    """
    place = torch.arange(max(len(sound), len(film))).repeat_interleave(each)
    pictures = _pictures(film, side) if film else torch.empty(0)
    stores: dict[str, OneInput] = {}
    for name in inputs:
        if name == "image":
            stores[name] = DenseRows(pictures.flatten(0, 1))
        elif name == "audio":
            stores[name] = _windows(sound, [part["times"] for part in film] if film else None, each)
        else:
            values = pictures if name == "frames" else torch.from_numpy(np.stack([part["stats"] for part in sound]))
            stores[name] = DenseRows(values) if each == 1 else SharedRows(values, place)
    return MultiRows(stores) if len(stores) > 1 else next(iter(stores.values()))


def stores_of(store: RowStore, inputs: Sequence[str]) -> dict[str, Any]:
    """The store of each input by name."""
    return dict(store.views) if isinstance(store, MultiRows) else {inputs[0]: store}


def _windows(sound: Parts, times: Sequence[Array] | None, each: int) -> WindowRows:
    """Spectrograms around the times of pictures or, where there are none, spread over the clip."""
    mels = [_long_enough(part["mel"]) for part in sound]
    begin = np.cumsum([0, *map(len, mels)])[:-1]
    starts = []
    for clip, (mel, first) in enumerate(zip(mels, begin.tolist(), strict=True)):
        if times is None:
            center = np.array([(2 * j + 1) * len(mel) // (2 * each) for j in range(each)])
        else:  # a frame of the spectrogram is of the time in the middle of its window
            center = np.rint((times[clip] - float(sound[clip]["start"]) - WINDOW / RATE / 2) * FRAME_RATE).astype(np.int64)
        starts.append(first + (center - _LENGTH // 2).clip(0, len(mel) - _LENGTH))
    return WindowRows(torch.from_numpy(np.concatenate(mels)), torch.from_numpy(np.concatenate(starts)), _LENGTH)


def _long_enough(mel: Array) -> Array:
    """A spectrogram with silence after it, if it is shorter than a row."""
    return mel if len(mel) >= _LENGTH else np.pad(mel, ((0, _LENGTH - len(mel)), (0, 0)))


def _pictures(films: Parts, side: int) -> Tensor:
    """(C, F, 3, S, S) uint8 pictures of C clips.

    Raises:
        ValueError: where they do not fit into memory.
    """
    frames = len(films[0]["times"])
    check_room(len(films) * frames, side, "set a smaller side or fewer frames_per_clip")
    pixels = np.empty((len(films), frames, 3, side, side), dtype=np.uint8)

    def fill(clip: int) -> None:
        content, offsets = films[clip]["jpeg"], films[clip]["offsets"]
        for frame in range(frames):
            with Image.open(io.BytesIO(content[offsets[frame] : offsets[frame + 1]].tobytes())) as image:
                pixels[clip, frame] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        list(pool.map(fill, range(len(films))))
    return torch.from_numpy(pixels)
