"""The files of the Python releases of CIFAR-10 and CIFAR-100: where they are, if they are the official ones, what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from noisylab.data.download import download, file_md5, unpack
from noisylab.data.plainpickle import load_plain
from noisylab.data.release import ReleaseReport
from noisylab.data.rows import DenseRows
from noisylab.data.source import Source
from noisylab.reading import regular

__all__ = ["ReleaseLayout", "check", "layout_of", "prepare", "read"]


@dataclass(frozen=True)
class ReleaseLayout:
    """Where things are in a release, and the digests of its files.

    Args:
        folder: of the files.
        archive: file that holds the folder.
        url: of the archive.
        archive_md5: its digest.
        train: files of the training images, in their order, with their md5.
        test: those of the test images.
        names: the file of the class names.
        names_key: what these are called in it.
        labels_key: what the labels are called in the files of images.
        classes: number of classes.
    """

    folder: str
    archive: str
    url: str
    archive_md5: str
    train: dict[str, str]
    test: dict[str, str]
    names: dict[str, str]
    names_key: str
    labels_key: str
    classes: int


def layout_of(name: Literal["CIFAR10", "CIFAR100"], *, coarse: bool = False) -> ReleaseLayout:
    """The official release, as torchvision has it.

    Args:
        name: which one.
        coarse: of CIFAR-100: take the 20 coarse classes.
    """
    import torchvision.datasets

    official = getattr(torchvision.datasets, name)
    return ReleaseLayout(
        folder=official.base_folder,
        archive=official.filename,
        url=official.url,
        archive_md5=official.tgz_md5,
        train=dict(official.train_list),
        test=dict(official.test_list),
        names={official.meta["filename"]: official.meta["md5"]},
        names_key="coarse_label_names" if coarse else official.meta["key"],
        labels_key="labels" if name == "CIFAR10" else "coarse_labels" if coarse else "fine_labels",
        classes=20 if coarse else 10 if name == "CIFAR10" else 100,
    )


def check(layout: ReleaseLayout, report: ReleaseReport) -> None:
    """Report on the folder of a release or, without it, on the archive.

    Args:
        layout: of the release.
        report: of the folder where they should be; what is found is entered.
    """
    root = report.root
    files = {f"{layout.folder}/{file}": md5 for part in (layout.train, layout.test, layout.names) for file, md5 in part.items()}
    if (root / layout.folder).is_dir():
        what = "a file of the Python release"
    else:
        files, what = {layout.archive: layout.archive_md5}, f"the Python release, {layout.url}; or its folder {layout.folder}"
    for file, md5 in files.items():
        if report.has(file, what):
            report.digest(file, md5)


def prepare(layout: ReleaseLayout, root: Path, allowed: bool, verify: bool) -> None:
    """Make the folder, out of the archive, out of a download.

    Args:
        layout: of the release.
        root: where the folder or the archive is.
        allowed: whether the archive may be downloaded.
        verify: refuse an archive that does not have the official digest.

    Raises:
        FileNotFoundError: nothing is there, and nothing may be downloaded.
        ValueError: the archive is damaged or another one.
        OSError: the download fails.
    """
    if (root / layout.folder).is_dir():
        return
    archive = root / layout.archive
    if not archive.is_file():
        if not allowed:
            raise FileNotFoundError(
                f"root={str(root)!r} holds neither the folder {layout.folder} nor {layout.archive}; set download=True, or fetch "
                f"{layout.url} (md5 {layout.archive_md5}) and put it into the folder {root.absolute()}"
            )
        download(layout.url, archive, layout.archive_md5)
    elif verify and (found := file_md5(archive)) != layout.archive_md5:
        raise ValueError(
            f"{archive} has the md5 {found}, the official file has {layout.archive_md5}: it is damaged or a different file. "
            "Remove it and set download=True, or set verify=False if the file is your own"
        )
    unpack(archive, layout.folder, root)


def read(layout: ReleaseLayout, root: Path, verify: bool) -> Source:
    """The images and their true labels, which are also the given ones.

    Args:
        layout: of the release.
        root: where its folder is.
        verify: refuse files that do not have the official digests.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged or another one.
    """
    folder = root / layout.folder
    (names_file,) = layout.names
    names = _unpickle(folder, names_file, layout.names[names_file] if verify else None).get(layout.names_key)
    if not isinstance(names, list) or len(names) != layout.classes:
        raise ValueError(f"{folder / names_file} must list {layout.classes} names as {layout.names_key!r}; replace the file")
    (train, given), (test, test_target) = (
        _images(folder, files, layout.labels_key, verify) for files in (layout.train, layout.test)
    )
    return Source(
        train=DenseRows(train),
        given=given,
        clean=given,
        test=DenseRows(test),
        test_target=test_target,
        class_names=tuple(str(name) for name in names),
    )


def _images(folder: Path, files: Mapping[str, str], labels_key: str, verify: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, 32, 32) uint8 images and (N,) int64 labels of some batch files."""
    images, labels = [], []
    for name, md5 in files.items():
        batch = _unpickle(folder, name, md5 if verify else None)
        pixels, targets = batch.get("data"), batch.get(labels_key)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3 * 32 * 32,):
            raise ValueError(f"{folder / name} must hold 'data', an (N, 3072) uint8 array; replace the file")
        if not isinstance(targets, list | np.ndarray) or len(targets) != len(pixels):
            raise ValueError(
                f"{folder / name} must hold {labels_key!r}, one label for each of {len(pixels)} images; replace the file"
            )
        images.append(pixels.reshape(-1, 3, 32, 32))
        labels.append(np.asarray(targets, dtype=np.int64))
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))


def _unpickle(folder: Path, name: str, md5: str | None) -> dict[str, Any]:
    """A batch file as a dictionary; `md5` is what its digest must be, `None` for any."""
    path = folder / name
    try:
        content = regular(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; remove the folder {folder} and set download=True") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise ValueError(
            f"{path} has the md5 {found}, the official file has {md5}: it is damaged or a different file. "
            f"Remove the folder {folder} and set download=True, or set verify=False if the files are your own"
        )
    try:
        return load_plain(content)
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}; remove the folder {folder} and set download=True") from error
