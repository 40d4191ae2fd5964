"""Folders of clips of sound, one for each class, as tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noisylab.data.frames.columns import Column, Columns, Media
from noisylab.data.notes import in_lines

__all__ = ["SUFFIXES", "clip_folder"]

SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".m4a", ".mp4", ".webm", ".mka", ".aac"}
)
"""Endings, in lower case, of files that are taken for clips in a folder."""

_TRAIN, _TEST = "train", ("test", "validation", "valid", "val")


def clip_folder(folder: Path) -> dict[str, Columns] | None:
    """The clips in the class folders of a folder, or of its folders train and test (or validation), by split.

    Columns are "audio" and "label", rows are named by their files.

    Args:
        folder: with a folder for each class, sub-folders included.

    Returns:
        The tables; `None` for a folder without clips.

    Raises:
        ValueError: some clips are in no class folder.
    """
    parts = [name for name in (_TRAIN, *_TEST) if (folder / name).is_dir()]
    places = {name: folder / name for name in parts} if _TRAIN in parts and len(parts) > 1 else {_TRAIN: folder}
    found = {name: _files(place) for name, place in places.items()}
    return {name: _table(places[name], files) for name, files in found.items()} if all(found.values()) else None


def _files(folder: Path) -> list[Path]:
    """The clips below a folder, relative to it."""
    return sorted(
        Path(place, name).relative_to(folder)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    )


def _table(folder: Path, files: Sequence[Path]) -> Columns:
    loose = [str(file) for file in files if len(file.parts) == 1]
    if loose:
        raise ValueError(
            f"{len(loose):,} of {len(files):,} clips of {folder} are in no class folder:{in_lines(loose)}\n"
            "Put each into the folder of its class, or list them in a table with a column of files and one of labels"
        )
    names = [file.as_posix() for file in files]
    known = np.zeros(len(files), dtype=bool)
    columns = {
        "audio": Column("audio", [Media(path=name) for name in names], known),
        "label": Column("text", [file.parts[0] for file in files], known),
    }
    return Columns(str(folder), columns, ids=names, folder=folder)
