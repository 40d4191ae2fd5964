"""Packed images (`PackedImages`) made smaller, for studies on CPUs: the mean of each box of pixels, as PNG files in the same layout."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from converting import Array, EncodedImages, read, write_arrays
from PIL import Image


def smaller(images: EncodedImages, side: int) -> tuple[Array, Array]:
    """The files of all images at `side` x `side` pixels, one after the other, and where each begins and the last one ends."""
    files = []
    for file in images.files(np.arange(len(images.labels))):
        with Image.open(io.BytesIO(file)) as image, io.BytesIO() as out:
            image.convert("RGB").resize((side, side), Image.Resampling.BOX).save(out, "PNG")
            files.append(np.frombuffer(out.getvalue(), dtype=np.uint8))
    return np.concatenate(files), np.cumsum([0, *map(len, files)])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="the .npz file, for example cifar10_jpeg/cifar10_jpeg.npz in the folder NOISYLAB_DATA")
    parser.add_argument("--side", type=int, default=16, help="width and height in pixels (default: 16)")
    parser.add_argument("--out", required=True, help="the .npz file to write")
    options = parser.parse_args(argv)
    path = Path(options.file)
    arrays = read(str(path.parent), path.name)
    found = {"class_names": arrays["class_names"]}
    for part in ("train", "test"):
        found[f"{part}_bytes"], found[f"{part}_offsets"] = smaller(EncodedImages.of(arrays, part), options.side)
        found[f"{part}_labels"] = arrays[f"{part}_labels"]
    write_arrays(options.out, **found)


if __name__ == "__main__":
    main()
