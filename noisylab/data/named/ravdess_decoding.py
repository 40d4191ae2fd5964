"""Decodes the sound and the films of RAVDESS, each file once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from noisylab.data.media.cache import Decoded, Recipe, decode_all
from noisylab.data.media.film import frames_of
from noisylab.data.media.frontend import Array
from noisylab.data.media.sound import film_sound, spectrogram_of, wav_sound
from noisylab.data.notes import in_lines

__all__ = ["decode_films", "decode_sound"]


def decode_sound(paths: Sequence[Path], folder: Path | None) -> list[Decoded]:
    """The spectrogram of each wav file or film, see `spectrogram_of`.

    Args:
        paths: the files.
        folder: of what was decoded before, see `decode_all`.

    Raises:
        ValueError: naming the files that cannot be used.
    """
    arrays = ("mel", "stats", "start")
    films = [str(path) for path in paths if path.suffix.lower() == ".mp4"]
    waves = [str(path) for path in paths if path.suffix.lower() != ".mp4"]
    found = dict(zip(waves, decode_all(waves, Recipe("sound 1", _of_wave, arrays, ("soundfile",)), folder), strict=True))
    found |= zip(films, decode_all(films, Recipe("sound of films 1", _of_film, arrays, ("av",)), folder), strict=True)
    return _checked(paths, [found[str(path)] for path in paths])


def decode_films(paths: Sequence[Path], folder: Path | None, frames: int, side: int) -> list[Decoded]:
    """The chosen frames of each film, see `frames_of`.

    Args:
        paths: the files.
        folder: of what was decoded before, see `decode_all`.
        frames: of each film.
        side: of the pictures, in pixels.

    Raises:
        ValueError: naming the files that cannot be used.
    """
    decode = partial(frames_of, frames=frames, side=side)
    recipe = Recipe(f"films 1, {frames} frames of {side} pixels", decode, ("jpeg", "offsets", "times"), ("av", "pillow"))
    return _checked(paths, decode_all([str(path) for path in paths], recipe, folder))


def _of_wave(content: bytes) -> Mapping[str, Array]:
    return spectrogram_of(wav_sound(content))


def _of_film(content: bytes) -> Mapping[str, Array]:
    return spectrogram_of(film_sound(content))


def _checked(paths: Sequence[Path], decoded: list[Decoded]) -> list[Decoded]:
    faults = [f"{path} {one.fault}" for path, one in zip(paths, decoded, strict=True) if one.fault]
    if faults:
        raise ValueError(
            f"{len(faults):,} of {len(paths):,} files cannot be used:{in_lines(faults)}\nReplace these files, or leave their "
            "clips out by moving all files of them elsewhere"
        )
    return decoded
