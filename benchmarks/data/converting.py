"""What the converters share: where the source files are, which rows are taken, and how the result is written."""

from __future__ import annotations

import argparse
import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from noisylab.data.splits import stratified_subset
from noisylab.files import atomic_path
from noisylab.noise import FromFile, NoisyTargets, save_noise

Array = np.ndarray[Any, Any]


def arguments(description: str, *, rows: bool = True, files: bool = False, folder: bool = False) -> argparse.ArgumentParser:
    """The options of every converter.

    Args:
        description: first line of the help text.
        rows: whether part of the rows can be asked for.
        files: whether image files with a table can be written instead of arrays.
        folder: whether the result is a folder of several files.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--source",
        default=os.environ.get("NOISYLAB_DATA"),
        help="folder that holds the source files, in sub-folders or side by side (default: the variable NOISYLAB_DATA)",
    )
    parser.add_argument("--out", help="folder to write" if folder else "the .npz file to write", required=not files)
    if rows:
        parser.add_argument("--limit", type=int, help="take this many training rows, stratified, and at most as many test rows")
        parser.add_argument("--seed", type=int, default=0, help="names the choice of rows (default: 0)")
    if files:
        parser.add_argument("--as-files", metavar="DIR", help="write images/, train.csv and test.csv into this new folder")
        parser.add_argument("--noise", metavar="FILE", help="noise file of the whole training set, for the given labels")
    return parser


def read(source: str | None, file: str) -> dict[str, Array]:
    """The arrays of `file` (as folder/name.npz), found in the source folder with or without its own folder.

    Raises:
        SystemExit: when it is not there.
    """
    if source is None:
        raise SystemExit("say where the source files are: --source DIR, or set NOISYLAB_DATA")
    for path in (Path(source) / file, Path(source) / Path(file).name):
        if path.is_file():
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
    raise SystemExit(f"{Path(source) / file} does not exist; check --source")


def some_rows(labels: Array, limit: int | None, seed: int) -> Array:
    """All rows, or `limit` of them with the class shares of the whole, in their order."""
    rows = torch.arange(len(labels))
    if limit is None or limit >= len(labels):
        return rows.numpy()
    return stratified_subset(rows, torch.from_numpy(labels.astype(np.int64)), limit, seed).numpy()


def write_arrays(path: str, **arrays: Any) -> None:
    """Save an .npz, whole or not at all."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
    print(f"{path}: {', '.join(f'{name} {np.shape(array)}' for name, array in arrays.items())}")


def write_noise(path: Path, given: Array, clean: Array, kind: str, rate: float | None = None) -> None:
    """Save labels that were not drawn here as a noise file for the rows with these true labels."""
    labels, truth = (torch.from_numpy(array.astype(np.int64)) for array in (given, clean))
    measured = float((labels != truth).double().mean())
    path.parent.mkdir(parents=True, exist_ok=True)
    save_noise(path, NoisyTargets(labels, truth, None, rate, measured), kind, seed=None)
    print(f"{path}: {len(labels)} labels, {measured:.4f} wrong")


@dataclass(frozen=True)
class EncodedImages:
    """Images as the bytes of their files, one after the other; image i is ``stream[offsets[i]:offsets[i + 1]]``."""

    stream: Array
    offsets: Array
    labels: Array

    @classmethod
    def of(cls, arrays: dict[str, Array], part: str) -> EncodedImages:
        """Those of "train" or "test"."""
        return cls(*(arrays[f"{part}_{name}"] for name in ("bytes", "offsets", "labels")))

    def files(self, rows: Array) -> Iterator[bytes]:
        """The files of some rows."""
        for row in rows:
            yield self.stream[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def pixels(self, rows: Array) -> Array:
        """(M, H, W, 3) uint8."""
        return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in self.files(rows)])


def convert_images(options: argparse.Namespace, file: str) -> None:
    """Encoded images and labels as arrays, or as image files with tables."""
    arrays = read(options.source, file)
    train, test = EncodedImages.of(arrays, "train"), EncodedImages.of(arrays, "test")
    clean = train.labels.astype(np.int64)
    given = clean
    if options.noise is not None:
        given = FromFile(options.noise)(torch.from_numpy(clean), len(arrays["class_names"])).given_target.numpy()
    rows = some_rows(clean, options.limit, options.seed)
    test_rows = some_rows(test.labels, options.limit, options.seed)
    truth = {} if options.noise is None else {"y_true": clean[rows]}
    if options.as_files is not None:
        names = arrays["class_names"]
        true_names = names[clean[rows]] if truth else None
        _write_files(
            Path(options.as_files),
            {
                "train": (train.files(rows), rows, names[given[rows]], true_names),
                "test": (test.files(test_rows), test_rows, names[test.labels[test_rows]], None),
            },
        )
    if options.out is not None:
        write_arrays(
            options.out,
            x=train.pixels(rows),
            y=given[rows],
            **truth,
            class_names=arrays["class_names"],
            test_x=test.pixels(test_rows),
            test_y=test.labels[test_rows].astype(np.int64),
        )
    if options.out is None and options.as_files is None:
        raise SystemExit("say what to write: --out FILE, --as-files DIR, or both")


def _write_files(folder: Path, parts: dict[str, tuple[Iterator[bytes], Array, Array, Array | None]]) -> None:
    """Fill a folder beside its place, then give it its name."""
    if folder.exists():
        raise SystemExit(f"{folder} exists; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial"))
    try:
        for part, (files, rows, labels, true_labels) in parts.items():
            names = [f"{part}/{row:05d}.jpg" for row in rows]
            (partial / "images" / part).mkdir(parents=True)
            for name, content in zip(names, files, strict=True):
                (partial / "images" / name).write_bytes(content)
            columns: dict[str, Sequence[Any]] = {"file": names, "label": labels.tolist()}
            if true_labels is not None:
                columns["true_label"] = true_labels.tolist()
            with (partial / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{folder}: {', '.join(f'{part} {len(rows)}' for part, (_, rows, _, _) in parts.items())} images")
