"""Pictures without labels, for prediction by a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from noisylab.data.base import NoisyDataModule
from noisylab.data.examined import beyond, unreadable
from noisylab.data.folders import list_images, require_folder
from noisylab.data.frozen import FrozenFeatures
from noisylab.data.imagelist import ImageList, Sieve, account_of
from noisylab.data.imagerows import decode, file_rows
from noisylab.data.rows import DenseRows, FileRows, RowStore
from noisylab.data.shards.rows import ShardRows
from noisylab.transforms.image import Normalize

__all__ = ["Unlabeled", "rows_like", "unlabeled_images", "unlabeled_rows"]


class Unlabeled(NamedTuple):
    """Pictures without labels.

    Args:
        rows: those that can be read.
        names: their files, relative to their folder, sorted.
        skipped: files that cannot be read and are left out.
        account: what was read and what was left out, in sentences.
    """

    rows: DenseRows | FileRows
    names: list[str]
    skipped: list[str]
    account: list[str]


def unlabeled_images(folder: str | Path, data: NoisyDataModule) -> tuple[DenseRows | FileRows, list[str]]:
    """The images of a folder and their names, all of which must be readable; see `unlabeled_rows`."""
    found = unlabeled_rows(folder, data)
    return found.rows, found.names


def unlabeled_rows(folder: str | Path, data: NoisyDataModule, skip: bool = False) -> Unlabeled:
    """Images without labels, for prediction by a model that was trained on `data`.

    Args:
        folder: where the images are, sub-folders included.
        data: a data module of images after its ``setup``; its evaluation view is used, and images in memory are brought to
            the size and colors of its training images, or become features as these did.
        skip: leave out images that cannot be read, instead of refusing the folder.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ValueError: when it holds no image, when a file is no image, or when `data` is no data set of images.
    """
    root = Path(folder)
    require_folder(root)
    every = _without_labels(root)
    if not every.names:
        raise ValueError(f"no image can be read there: {account_of(every)[0]}")
    sieve = Sieve(skip)
    rows, images = rows_like(every, data, sieve)
    return Unlabeled(rows, images.names, sieve.names, account_of(images))


def rows_like(every: ImageList, data: NoisyDataModule, sieve: Sieve) -> tuple[DenseRows | FileRows, ImageList]:
    """Images as a model that was trained on `data` takes them, and the list without those that `sieve` leaves out.

    Args:
        every: images.
        data: see `unlabeled_rows`.
        sieve: what becomes of images that cannot be read.

    Raises:
        ValueError: when a file is no image, or when `data` is no data set of images.
    """
    images, heads = sieve.heads(every)
    truncated, depth = getattr(data, "allow_truncated", False), getattr(data, "depth", None)
    train, frozen = _form(data), getattr(data, "frozen", None)
    if isinstance(train, FileRows):
        truncated, depth = train.allow_truncated, train.depth
    elif frozen is None and not _holds_pixels(data):
        raise ValueError(
            f"{type(data).__name__} does not hold images with pixels 0..255, so image files cannot be predicted with it"
        )
    images = beyond(images, heads, truncated, depth)
    if isinstance(frozen, FrozenFeatures):
        return frozen.rows_of(images, sieve)
    if isinstance(train, FileRows):
        images = sieve.keep(images, unreadable(images, truncated))
        return file_rows(images, train.views, data.num_workers, truncated, depth), images
    assert isinstance(train, DenseRows)
    _, channels, height, width = train.values.shape
    pixels, faults = decode(images, (width, height), channels == 1, truncated, depth)
    return DenseRows(pixels), sieve.keep(images, faults)


def _form(data: NoisyDataModule) -> RowStore:
    """The training rows; of those in shards none, as rows in memory would be."""
    train = data.source.train
    return DenseRows(train.gather(torch.arange(0))) if isinstance(train, ShardRows) else train


def _holds_pixels(data: NoisyDataModule) -> bool:
    """A view that takes 0..255 is what says that the training rows are ordinary images."""
    train = _form(data)
    return isinstance(train, DenseRows) and train.values.ndim == 4 and isinstance(data.view_set()["eval"], Normalize)


def _without_labels(root: Path) -> ImageList:
    listing = list_images(root)
    names = [path.relative_to(root).as_posix() for path in listing.images]
    notes = (f"left out of {root}: {', '.join(listing.skipped)}",) if listing.skipped else ()
    return ImageList(root, names, [""] * len(names), str(root), listing=listing, notes=notes)
