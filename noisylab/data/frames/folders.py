"""Reads the tables of a folder: splits by the names of its files, or parts of one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from noisylab.data.folders import part_of_data, parts_among
from noisylab.data.frames.arrowfiles import SAVED, SAVED_SPLITS, read_arrow, read_parquet, read_saved, read_saved_splits
from noisylab.data.frames.clipfolders import clip_folder
from noisylab.data.frames.columns import Column, Columns, Media
from noisylab.data.frames.sniffing import media_kind
from noisylab.data.frames.textfiles import read_csv, read_json

__all__ = ["FORMATS", "format_of", "read_folder"]

Reader = Callable[[Sequence[Path], str], Columns]

FORMATS: Mapping[str, Reader] = {
    ".csv": read_csv,
    ".json": read_json,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
}
"""Reads the files of a table, by their ending; .csv and .json may be packed by gzip, with .gz behind that."""

_PACKED = (read_csv, read_json)
_SHARD = re.compile(r"[-_.]?(part)?[-_.]?[0-9]{3,}([-_.]of[-_.][0-9]+)?([-_.][0-9a-f]{6,})?$", re.IGNORECASE)
_NO_TABLES = {"dataset_info.json", "dataset_infos.json", SAVED, SAVED_SPLITS}
_SPLITS = ("train", "test", "validation", "valid", "val", "dev")  # the names by which splits are asked for
_DEEP = 3  # folders in one another that are looked into
_SHOWN = 3


def format_of(file: Path) -> tuple[str, Reader] | None:
    """The ending of the file of a table and what reads it; `None` for another file."""
    ending = "".join(file.suffixes[-2:]).lower() if file.suffix.lower() == ".gz" else file.suffix.lower()
    reader = FORMATS.get(ending.removesuffix(".gz"))
    if reader is None or (ending.endswith(".gz") and reader not in _PACKED):
        return None
    return ending.removesuffix(".gz"), reader


def read_folder(folder: Path) -> dict[str, Columns]:
    """The tables of a folder, by split.

    It is what the package datasets has saved; or files of one format below the folder. Those called, or in a folder called, like
    a part of a data set (``train.parquet``, ``test-00000-of-00001.parquet``, ``train/metadata.csv``) are splits, others in one
    folder with them splits by their own names; where none is called so, all are parts of one table, in the order of their names.
    A folder without tables may hold clips of sound, see `clip_folder`.

    Raises:
        ValueError: there is no table, or files of several formats.
    """
    if (folder / SAVED_SPLITS).is_file():
        return read_saved_splits(folder)
    if (folder / SAVED).is_file():
        return {"train": read_saved(folder, str(folder))}
    files = _tables(folder)
    clips = None if files else clip_folder(folder)
    if clips is not None:
        return clips
    if not files:
        raise ValueError(
            f"{folder} holds no table: no file whose name ends in {', '.join(FORMATS)}. Pictures in class folders are read by "
            "ImageFolder (--images)"
        )
    readers = dict(map(_known_format, files))
    if len(set(readers.values())) > 1:
        raise ValueError(
            f"{folder} holds tables of several formats ({', '.join(sorted(readers))}); name one file, or remove the others"
        )
    reader = next(iter(readers.values()))
    splits, said = _splits(folder, files), []
    if len(files) > 1 and len(splits) == 1:
        said = [f"{folder}: its {len(files)} files are parts of one table, in the order of their names"]
    tables = {}
    for name, parts in splits.items():
        where = str(parts[0] if len(files) == 1 else folder if len(splits) == 1 else f"{folder}, split {name}")
        tables[name] = _with_media(reader(parts, where), parts)
        tables[name].account[:0] = said
    return tables


def _tables(folder: Path) -> list[Path]:
    found = []
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder).parts
        hidden = any(part.startswith((".", "_")) for part in inner)
        if len(inner) <= _DEEP and not hidden and file.name not in _NO_TABLES and format_of(file) and file.is_file():
            found.append(file)
    return found


def _known_format(file: Path) -> tuple[str, Reader]:
    known = format_of(file)
    assert known is not None  # of a file that `_tables` found
    return known


def _splits(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files by split; all under "train" where no name is that of a split."""
    stems = {file: _stem(file) for file in files}
    inside = {file: [part for part in file.relative_to(folder).parts[:-1] if part_of_data(part)] for file in files}
    named = parts_among([stem for file, stem in stems.items() if not inside[file]])
    if not named and not any(inside.values()):
        return {"train": list(files)}
    splits: dict[str, list[Path]] = {}
    for file, stem in stems.items():
        word = inside[file][0] if inside[file] else stem
        kind = part_of_data(word) or named.get(word)
        name = word.lower() if word.lower() in _SPLITS or kind is None else kind
        splits.setdefault(name, []).append(file)
    order = {name: place for place, name in enumerate(_SPLITS)}
    return {name: splits[name] for name in sorted(splits, key=lambda name: (order.get(name, len(order)), name))}


def _stem(file: Path) -> str:
    """The name of a file without its ending and without its number among others."""
    ending = len("".join(file.suffixes[-2:])) if file.suffix.lower() == ".gz" else len(file.suffix)
    stem = file.name[:-ending]
    return _SHARD.sub("", stem) or stem


def _with_media(table: Columns, files: Sequence[Path]) -> Columns:
    """The table, with the column ``file_name`` of the ``metadata.csv`` of a folder of pictures or recordings as these files."""
    column = table.columns.get("file_name")
    if _stem(files[0]) != "metadata" or column is None or column.kind != "text":
        return table
    there = next((text for text in column.values if text), "")
    kind = media_kind(there)
    if kind is None:
        return table
    media = [Media(text or None) for text in column.texts()]
    return replace(table, columns={**table.columns, "file_name": Column(kind, media, column.missing)})
