"""CIFAR-10 and CIFAR-100, from the files of their Python release."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.download import download, file_md5, unpack
from noisylab.data.plainpickle import load_plain
from noisylab.data.rows import DenseRows
from noisylab.reading import regular
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR100_MEAN,
    CIFAR100_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    checked_strong,
    cifar_views,
)

if TYPE_CHECKING:
    from noisylab.data.named.release import ReleaseReport

__all__ = ["CIFAR10", "CIFAR100"]


class _CIFAR(NoisyDataModule):
    """What the two sets share. A level of its own between them and the base because they differ in these constants alone."""

    _release: ClassVar[Literal["CIFAR10", "CIFAR100"]]
    _classes: ClassVar[int]
    _statistics: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]]

    path_arguments = ("root",)

    def __init__(
        self,
        root: str = "data",
        download: bool = False,
        normalize: Literal["cifar", "imagenet", "none"] = "cifar",
        verify: bool = True,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        padding: int = 4,
        strong: StrongView | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if normalize not in ("cifar", "imagenet", "none"):
            raise ValueError(f"normalize must be 'cifar', 'imagenet' or 'none', got {normalize!r}")
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std are given together or not at all, got mean={mean} and std={std}")
        for name, values in (("mean", mean), ("std", std)):
            if values is not None and not (len(values) == 3 and all(math.isfinite(value) for value in values)):
                raise ValueError(f"{name} must be three numbers, one per channel of pixels in [0, 1], got {values}")
        if std is not None and min(std) <= 0:
            raise ValueError(f"std must be three positive numbers, got {std}")
        if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
            raise ValueError(f"padding must be a whole number of pixels, 0 or more, got {padding!r}")
        self.root, self.download, self.verify, self.strong = Path(root), download, verify, checked_strong(strong)
        self.normalize, self.padding = normalize, padding
        self.mean, self.std = (None if values is None else tuple(values) for values in (mean, std))

    @property
    def source_classes(self) -> int:
        """Known without the files."""
        return self._classes

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Whether the folder or, without it, the archive has the official digests; see `NamedRelease`."""
        return _check(_layout(cls._release), cls.__name__, root)

    def prepare_data(self) -> None:
        """Fetch and unpack what is not there yet."""
        _prepare(_layout(self._release), self.root, self.download, self.verify)

    def load(self) -> Source:
        """Read the files, after `prepare_data` where that has not run."""
        self.prepare_data()
        return _load(_layout(self._release), self.root, self.verify, self._classes)

    def view_set(self) -> Mapping[str, Any]:
        """Crop and flip, then AutoAugment or what was chosen."""
        named = {
            "cifar": self._statistics,
            "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
            "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        }[self.normalize]
        return cifar_views(self.mean or named[0], self.std or named[1], self.padding, self.strong)


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test color images of 32 x 32 pixels, ten classes (Krizhevsky, 2009).

    `root` holds the folder ``cifar-10-batches-py`` or the archive ``cifar-10-python.tar.gz``, as torchvision leaves them.
    Rows are in the order of the files, which is the order of CIFAR-10N. Validation rows, where asked for, have the given
    labels unless ``val_labels="clean"``.

    Views: "weak" is a crop out of the image padded by `padding` pixels and a flip; "strong" adds the AutoAugment policy of
    CIFAR-10.

    Args:
        root: folder of the files.
        download: fetch the archive when neither folder nor archive is there.
        normalize: "cifar" for this data set's mean and standard deviation, "imagenet" for those of ImageNet (ACT, DMI), "none"
            for pixels in [0, 1] as they are (Co-teaching, Co-teaching+, JoCoR).
        verify: refuse files that do not have the official digests. With or without the check, nothing but arrays, numbers
            and text is read out of them.
        mean: three numbers that are subtracted from pixels in [0, 1], in place of what `normalize` names; with `std`. 0.5 and
            0.5 for pixels in [-1, 1] (L2R, IEG).
        std: three positive numbers to divide by; with `mean`.
        padding: pixels on each side of the image that is cropped from, 0 or more; 2 in L2R's code.
        strong: what the view "strong" does after crop and flip: `RandAugment`, `FixMatchStrong`, `AugMix`, `TrivialAugment`,
            `AutoAugment` or `Cutout`, with their arguments; `None` for AutoAugment.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, when the files are not there.
        ValueError: in ``setup``, when a file is damaged or another one.
        OSError: when a download fails.
    """

    _release = "CIFAR10"
    _classes = 10
    _statistics = (CIFAR10_MEAN, CIFAR10_STD)


class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test color images of 32 x 32 pixels, 100 fine classes (Krizhevsky, 2009).

    The two noisy sets of ACT, both synthetic, are this class with a noise: CIFAR100N is ``OpenSet(rate, open_ratio=0)``,
    CIFAR80N is ``OpenSet(rate)`` with 80 classes, whose test set is the 8,000 images of the known classes. The human labels
    that share the name CIFAR-100N come with ``FromFile``.

    `root` holds the folder ``cifar-100-python`` or the archive ``cifar-100-python.tar.gz``; arguments, views, splits and
    errors are those of `CIFAR10`.

    Args:
        root: folder of the files.
        download: fetch the archive when neither folder nor archive is there.
        normalize: see `CIFAR10`.
        verify: refuse files that do not have the official digests. With or without the check, nothing but arrays, numbers
            and text is read out of them.
        mean: see `CIFAR10`; 0.507, 0.487, 0.441 in DivideMix's code, where `std` is 0.267, 0.256, 0.276.
        std: see `CIFAR10`.
        padding: see `CIFAR10`.
        strong: see `CIFAR10`.
        **kwargs: see `NoisyDataModule`.
    """

    _release = "CIFAR100"
    _classes = 100
    _statistics = (CIFAR100_MEAN, CIFAR100_STD)


@dataclass(frozen=True)
class _Layout:
    """Where things are in a release, and the digests of its files."""

    folder: str
    archive: str
    url: str
    archive_md5: str
    train: dict[str, str]
    test: dict[str, str]
    names: dict[str, str]
    names_key: str
    labels_key: str


def _layout(name: Literal["CIFAR10", "CIFAR100"]) -> _Layout:
    import torchvision.datasets

    official = getattr(torchvision.datasets, name)
    return _Layout(
        folder=official.base_folder,
        archive=official.filename,
        url=official.url,
        archive_md5=official.tgz_md5,
        train=dict(official.train_list),
        test=dict(official.test_list),
        names={official.meta["filename"]: official.meta["md5"]},
        names_key=official.meta["key"],
        labels_key="labels" if name == "CIFAR10" else "fine_labels",
    )


def _check(layout: _Layout, name: str, root: Path) -> ReleaseReport:
    """What is there of a release: its folder or, without it, the archive."""
    from noisylab.data.named.release import ReleaseReport  # not above: the named sets build upon this module

    report = ReleaseReport(name, root)
    files = {f"{layout.folder}/{file}": md5 for part in (layout.train, layout.test, layout.names) for file, md5 in part.items()}
    if (root / layout.folder).is_dir():
        what = "a file of the Python release"
    else:
        files, what = {layout.archive: layout.archive_md5}, f"the Python release, {layout.url}; or its folder {layout.folder}"
    for file, md5 in files.items():
        if report.has(file, what):
            report.digest(file, md5)
    return report


def _prepare(layout: _Layout, root: Path, allowed: bool, verify: bool) -> None:
    """Make the folder, out of the archive, out of a download."""
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


def _load(layout: _Layout, root: Path, verify: bool, classes: int) -> Source:
    folder = root / layout.folder
    (names_file,) = layout.names
    names = _unpickle(folder, names_file, layout.names[names_file] if verify else None).get(layout.names_key)
    if not isinstance(names, list) or len(names) != classes:
        raise ValueError(f"{folder / names_file} must list {classes} names as {layout.names_key!r}; replace the file")
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
