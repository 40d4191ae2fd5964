"""MNIST and Fashion-MNIST, from the IDX files of their release or, for MNIST, from Keras' array file."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.data.arrayfile import ArrayFile
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.download import download
from noisylab.data.labels import Array
from noisylab.data.release import ReleaseReport
from noisylab.data.rows import DenseRows
from noisylab.reading import gunzip, regular
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import checked_strong, image_views

__all__ = ["MNIST", "FashionMNIST"]

_SIDE = 28
_PARTS = {"train": 60_000, "t10k": 10_000}  # images of each part
_NPZ_PARTS = {"train": "train", "t10k": "test"}
_MNIST_MD5 = {  # of the unpacked files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class _IDX(NoisyDataModule):
    """What the two sets share. A level of its own between them and the base because they differ in constants alone, and because
    mirrored digits are other signs while mirrored clothes are not."""

    _release: ClassVar[Literal["MNIST", "FashionMNIST"]]
    _names: ClassVar[tuple[str, ...]]
    _mean: ClassVar[float]
    _std: ClassVar[float]
    _npz: ClassVar[str | None] = None

    path_arguments = ("root",)

    def __init__(
        self,
        root: str = "data",
        download: bool = False,
        padding: int = 0,
        verify: bool = True,
        strong: StrongView | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding < 0:
            raise ValueError(f"padding must be at least 0 pixels, got {padding}")
        self.root, self.download, self.verify = Path(root), download, verify
        self.padding, self.flip, self.strong = padding, 0.0, checked_strong(strong)

    @property
    def source_classes(self) -> int:
        """Known without the files."""
        return len(self._names)

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Whether the four files are there and have the official digests, packed or not; see `NamedRelease`."""
        report, data = ReleaseReport(cls.__name__, root), cls(str(root))
        arrays = data._array_file()
        if arrays is not None:
            report.digest(arrays.relative_to(root).as_posix(), None)
            report.notes.append("Keras' file is read, as not all files of the release are there")
            return report
        for archive in data._archives():
            path = data._find(archive)
            if path is None:
                report.missing.append(f"{cls._release}/raw/{archive}: a file of the release, packed or unpacked, here or in root")
            else:
                report.digest(path.relative_to(root).as_posix(), data._digests().get(path.name))
        return report

    @property
    def folder(self) -> Path:
        """Where torchvision keeps the files, and where downloads go."""
        return self.root / self._release / "raw"

    def prepare_data(self) -> None:
        """Fetch the archives that are not there yet."""
        missing = [name for name in self._archives() if self._find(name) is None]
        if not missing or self._array_file() is not None:
            return
        mirrors, digests = self._mirrors(), self._archives()
        if not self.download:
            wanted = "; ".join(f"{mirrors[0]}{name} (md5 {digests[name]})" for name in missing)
            other = f", and no {self._npz}" if self._npz else ""
            raise FileNotFoundError(
                f"root={str(self.root)!r} holds no {', '.join(missing)}, packed or unpacked, neither in {self._release}/raw nor "
                f"directly{other}; set download=True, or fetch {wanted} and put them into the folder {self.folder.absolute()}"
            )
        for name in missing:
            _download_from(mirrors, self.folder / name, digests[name])

    def load(self) -> Source:
        """Read the files, after `prepare_data` where that has not run."""
        self.prepare_data()
        arrays = self._array_file()
        parts = [self._part_of_idx(part) if arrays is None else self._part_of_npz(arrays, part) for part in _PARTS]
        (train, given), (test, test_target) = parts
        return Source(
            train=DenseRows(train),
            given=given,
            clean=given,
            test=DenseRows(test),
            test_target=test_target,
            class_names=self._names,
        )

    def view_set(self) -> Mapping[str, Any]:
        """Shifts and mirroring as asked for; contrast and noise, or what was chosen, in the strong view."""
        return image_views((self._mean,), (self._std,), self.padding, self.flip, self.strong)

    # ---- files

    def _mirrors(self) -> list[str]:
        return list(_official(self._release).mirrors)

    def _archives(self) -> dict[str, str]:
        """MD5 of each archive by its name, train images first."""
        return dict(_official(self._release).resources)

    def _digests(self) -> dict[str, str]:
        """Official MD5 by the name of a file; of unpacked ones only those of MNIST are known."""
        return {**self._archives(), **(_MNIST_MD5 if self._release == "MNIST" else {})}

    def _find(self, archive: str) -> Path | None:
        """An archive, else its unpacked file, in torchvision's folder, else in `root` itself; `None` if there is neither."""
        unpacked = archive.removesuffix(".gz")
        places = [folder / name for folder in (self.folder, self.root) for name in (archive, unpacked)]
        return next((path for path in places if path.is_file()), None)

    def _array_file(self) -> Path | None:
        """Keras' array file, where it is there and the official files are not all there."""
        if self._npz is None or all(self._find(name) is not None for name in self._archives()):
            return None
        path = self.root / self._npz
        return path if path.is_file() else None

    def _part_of_idx(self, part: str) -> tuple[Tensor, Tensor]:
        images_file, labels_file = (f"{part}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1"))
        images, path = self._read(images_file, 3)
        labels, _ = self._read(labels_file, 1)
        return self._checked(images, labels, part, str(path))

    def _part_of_npz(self, path: Path, part: str) -> tuple[Tensor, Tensor]:
        file, name = ArrayFile(str(path)), _NPZ_PARTS[part]
        images, labels = file[f"x_{name}"], file[f"y_{name}"]
        if images.dtype != np.uint8 or labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise ValueError(
                f"{path} must hold x_{name}, uint8 images, and y_{name}, one row of whole numbers, got {images.dtype} of shape "
                f"{images.shape} and {labels.dtype} of shape {labels.shape}; replace the file"
            )
        return self._checked(images, labels, part, str(path))

    def _checked(self, images: Array, labels: Array, part: str, what: str) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) uint8 images and (N,) int64 labels."""
        expected = f"{_PARTS[part]:,} images" if self.verify else "images"
        wrong_count = self.verify and len(images) != _PARTS[part]
        if images.shape[1:] != (_SIDE, _SIDE) or wrong_count or len(labels) != len(images):
            raise ValueError(
                f"{what} must hold {expected} of {_SIDE} x {_SIDE} pixels with a label each, got images of shape {images.shape} "
                f"and {len(labels)} labels; replace the files of {self._release}"
                + (", or set verify=False if they are your own" if self.verify else "")
            )
        return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))

    def _read(self, archive: str, dimensions: int) -> tuple[Array, Path]:
        path = self._find(archive)
        assert path is not None  # prepare_data has seen to it
        content = regular(path).read_bytes()
        if self.verify:
            self._check_digest(path, hashlib.md5(content, usedforsecurity=False).hexdigest())
        return _parse_idx(content, path, dimensions), path

    def _check_digest(self, path: Path, found: str) -> None:
        """Compare with the official digest, where it is known."""
        expected = self._digests().get(path.name)
        again = "Remove it and set download=True, or set verify=False if the file is your own"
        if expected is not None and found != expected:
            raise ValueError(
                f"{path} has the md5 {found}, the official file has {expected}: it is damaged or a different file. {again}"
            )
        if expected is None and found in _MNIST_MD5.values():
            raise ValueError(f"{path} is a file of MNIST, not of {self._release}. {again}")


class MNIST(_IDX):
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, gray, 28 x 28 pixels (LeCun et al., 1998).

    `root` holds the four files ``train-images-idx3-ubyte`` ... as torchvision leaves them, in ``MNIST/raw`` or directly, each
    packed (``.gz``, taken first) or unpacked; or, where one of them is missing, Keras' ``mnist.npz`` (``x_train``, ``y_train``,
    ``x_test``, ``y_test``). Rows are in the order of the files. Validation rows, where asked for, have the given labels unless
    ``val_labels="clean"``.

    Views: "weak" shifts by up to `padding` pixels, "strong" also changes contrast and adds noise, "eval" does neither. All have
    pixels in [0, 1] from which 0.1307 is subtracted, then divided by 0.3081, mean and standard deviation of the training pixels.
    Digits are never mirrored.

    Args:
        root: folder of the files.
        download: fetch the files that are missing, from the mirrors that torchvision names, in turn.
        padding: largest shift, in pixels. The default 0 is plain images, as in T-Revision and most papers.
        verify: refuse files that do not have the official digests, of the packed or the unpacked file. ``mnist.npz`` has no
            digest; there the numbers of images are checked.
        strong: what the view "strong" does after the shift: `RandAugment`, `FixMatchStrong`, `AugMix`, `TrivialAugment`,
            `AutoAugment` or `Cutout`, with their arguments; `None` for contrast and noise.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, when the files are not there.
        ValueError: in ``setup``, when a file is damaged or another one.
        OSError: when a download fails.

    Example:
        >>> MNIST("nowhere").num_classes
        10
    """

    _release = "MNIST"
    _names = tuple(str(digit) for digit in range(10))
    _mean, _std = 0.1307, 0.3081
    _npz = "mnist.npz"


class FashionMNIST(_IDX):
    """Fashion-MNIST: 60,000 training and 10,000 test images of articles of clothing, gray, 28 x 28 pixels (Xiao et al., 2017).

    Files, views, splits and errors are those of `MNIST`, in ``FashionMNIST/raw``, without an array file. The files have the names
    of those of MNIST: do not keep both sets directly in one `root`. The official digests are those of the packed files; of
    unpacked ones the numbers of images are checked, and that they are not those of MNIST.

    From the pixels, in [0, 1], 0.2860 is subtracted, and the result divided by 0.3530: the mean and standard deviation of the
    training pixels as others publish them, not measured here.

    Args:
        root: folder of the files.
        download: fetch the files that are missing, from the mirrors that torchvision names, in turn.
        padding: largest shift, in pixels.
        verify: refuse packed files that do not have the official digests, unpacked ones of MNIST, and other numbers of images.
        flip: probability of mirroring an image in training, in [0, 1].
        strong: see `MNIST`.
        **kwargs: see `NoisyDataModule`.

    Example:
        >>> FashionMNIST("nowhere").source_classes
        10
    """

    _release = "FashionMNIST"
    _names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    _mean, _std = 0.2860, 0.3530

    def __init__(
        self,
        root: str = "data",
        download: bool = False,
        padding: int = 0,
        verify: bool = True,
        flip: float = 0.0,
        strong: StrongView | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, download, padding, verify, strong, **kwargs)
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability in [0, 1], got {flip}")
        self.flip = flip


def _official(release: Literal["MNIST", "FashionMNIST"]) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, release)


def _download_from(mirrors: list[str], path: Path, md5: str) -> None:
    failures = []
    for mirror in mirrors:
        try:
            download(f"{mirror}{path.name}", path, md5)
            return
        except OSError as error:
            failures.append(error)
    raise OSError("; ".join(str(error) for error in failures)) from failures[-1]


def _parse_idx(content: bytes, path: Path, dimensions: int) -> Array:
    """The array of an IDX file of unsigned bytes: two zero bytes, 8, the number of dimensions, their sizes as big-endian 32-bit
    numbers, then the values, row by row.

    Args:
        content: of the file, packed with gzip where the name says so.
        path: its name, for messages.
        dimensions: how many it must have.

    Raises:
        ValueError: when it is anything else.
    """
    again = "remove it and set download=True"
    if path.suffix == ".gz":
        try:
            content = gunzip(content)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ValueError(f"cannot unpack {path}: {error}; {again}") from error
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        raise ValueError(
            f"{path} begins with {content[:4].hex() or 'nothing'}, but an IDX file of this kind with {magic.hex()}; {again}"
        )
    sizes = [int(size) for size in np.frombuffer(content[4:header], dtype=">u4")] if len(content) >= header else []
    expected = header + math.prod(sizes)
    if not sizes or len(content) != expected:
        wanted = f"{expected} bytes for {' x '.join(map(str, sizes))} values" if sizes else f"a header of {header}"
        raise ValueError(f"{path} has {len(content)} bytes, but needs {wanted}: it is truncated or a different file; {again}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)
