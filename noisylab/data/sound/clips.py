"""Decodes the clips of a table, each of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from noisylab.data.frames.columns import Columns, Media
from noisylab.data.media.cache import Decoded, Recipe, decode_all
from noisylab.data.media.frontend import Array
from noisylab.data.media.sound import film_sound, spectrogram_of, wav_sound

__all__ = ["decode_clips", "faults_of"]

_BY_FFMPEG = (
    b"\x1aE\xdf\xa3",
    b"\xff\xf1",
    b"\xff\xf9",
)  # how WebM and AAC begin; MP4 has "ftyp" after four bytes


def decode_clips(table: Columns, column: str, folder: Path | None) -> list[Decoded]:
    """What came of each clip of a table: its spectrogram, see `spectrogram_of`, or why there is none.

    Args:
        table: N rows.
        column: of the clips: sound, or texts that are names of files.
        folder: of what was decoded before, see `decode_all`.
    """
    source = table.columns[column]
    clips = [clip if isinstance(clip, Media) else Media(path=str(clip) or None) for clip in source.values]
    gone = source.missing.tolist()
    files = [_file(clip, table.folder) for clip, none in zip(clips, gone, strict=True) if not none]
    found = iter(decode_all(files, Recipe("sound of clips 1", _decoded, ("mel", "start"), ("av", "soundfile")), folder))
    return [Decoded("", {}, "has no clip") if none else next(found) for none in gone]


def faults_of(table: Columns, decoded: Sequence[Decoded]) -> list[str]:
    """A line for each row whose clip cannot be used."""
    names = table.ids or [f"row {row}" for row in range(len(table))]
    return [f"{name} {one.fault}" for name, one in zip(names, decoded, strict=True) if one.fault]


def _file(clip: Media, folder: Path | None) -> str | bytes:
    if clip.content is not None:
        return clip.content
    return str(clip.path if folder is None else folder / str(clip.path))


def _decoded(content: bytes) -> Mapping[str, Array]:
    """The spectrogram of a file: of the kinds that FFmpeg reads by PyAV, of others by libsndfile."""
    film = content.startswith(_BY_FFMPEG) or content[4:8] == b"ftyp"
    found = spectrogram_of(film_sound(content) if film else wav_sound(content))
    return {name: found[name] for name in ("mel", "start")}
