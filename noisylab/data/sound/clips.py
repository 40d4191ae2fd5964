"""Finds the clips of a table or a folder, and decodes each of them once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from noisylab.data.frames.columns import Column, Columns, Media
from noisylab.data.media.cache import Decoded, Recipe, decode_all
from noisylab.data.media.frontend import Array
from noisylab.data.media.sound import film_sound, spectrogram_of, wav_sound
from noisylab.data.notes import in_lines

__all__ = ["SUFFIXES", "clip_folder", "decode_clips", "faults_of"]

SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".m4a", ".mp4", ".webm", ".mka", ".aac"}
)
"""Endings, in lower case, of files that are taken for clips in a folder."""

_TRAIN, _TEST = "train", ("test", "validation", "valid", "val")
_BY_FFMPEG = (
    b"\x1aE\xdf\xa3",
    b"\xff\xf1",
    b"\xff\xf9",
)  # how WebM and AAC begin; MP4 has "ftyp" after four bytes


def clip_folder(folder: Path, label: str, audio: str) -> dict[str, Columns]:
    """The clips in the class folders of a folder, or of its folders train and test (or validation), by split.

    Args:
        folder: with a folder for each class, sub-folders included.
        label: what the column of the class folders is called.
        audio: what the column of the files is called.

    Raises:
        ValueError: there are no clips, or some that are in no class folder.
    """
    parts = [name for name in (_TRAIN, *_TEST) if (folder / name).is_dir()]
    if _TRAIN in parts and len(parts) > 1:
        return {name: _clips(folder / name, label, audio) for name in parts}
    return {_TRAIN: _clips(folder, label, audio)}


def _clips(folder: Path, label: str, audio: str) -> Columns:
    files = sorted(
        Path(place, name).relative_to(folder)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    )
    if not files:
        raise ValueError(
            f"{folder} holds no clips in folders of their classes; clips end in {', '.join(sorted(SUFFIXES))}. Give such a "
            "folder, or a table with a column of files"
        )
    loose = [str(file) for file in files if len(file.parts) == 1]
    if loose:
        raise ValueError(
            f"{len(loose):,} of {len(files):,} clips of {folder} are in no class folder:{in_lines(loose)}\n"
            "Put each into the folder of its class, or list them in a table with a column of files and one of labels"
        )
    names = [file.as_posix() for file in files]
    known = np.zeros(len(files), dtype=bool)
    columns = {
        audio: Column("audio", [Media(path=name) for name in names], known),
        label: Column("text", [file.parts[0] for file in files], known),
    }
    return Columns(str(folder), columns, ids=names, folder=folder)


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
