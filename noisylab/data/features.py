"""Your own image files as feature vectors of a frozen pretrained network."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.caches import folder_of, progress_bar
from noisylab.data.digests import content_digests, digest_of
from noisylab.data.examined import with_depth
from noisylab.data.identity import depth_from, depth_numbers
from noisylab.data.imagelist import ImageList, Sieve, list_source
from noisylab.data.imageparts import image_lists
from noisylab.data.labels import LabelNames
from noisylab.data.missing import Missing
from noisylab.data.pictures import Depth, fault_of, open_image
from noisylab.data.rows import DenseRows, RowStore
from noisylab.data.suspicions import repeated
from noisylab.files import atomic_path
from noisylab.models.backbones import Backbone, FeatureNet, find_backbone
from noisylab.reading import regular
from noisylab.transforms.views import feature_views

__all__ = ["ImageFeatures"]

_SMALL, _LARGE = 96, 224  # pixels a side given to the network
_SIZE = 0.5  # root mean square of the features as they are trained on
_THREADS = 8  # that decode
_BATCH = {"cpu": 16, "cuda": 256}  # on a CPU, activations of 16 images stay in its cache
_FORMAT = "noisylab features 4"  # another number where pixels are read or prepared in another way
_DIGEST = hashlib.sha256().digest_size

Rows = NDArray[np.float32]


class ImageFeatures(NoisyDataModule):
    """Images, each turned once into a feature vector by a frozen pretrained network; methods train on the vectors.

    Images, labels and test images are given as for `ImageFolder`. Each image is scaled until its shorter side has `image_size`
    pixels, and the middle square goes through the network, on CUDA if there is a device. All features are divided by one
    number, so that their root mean square over the N training rows (held-out ones included, as labels do not matter here) is 0.5.
    Columns keep their weights: with unit variances a network learns the wrong labels of few images by heart
    (docs/label_issues.md has the figures). Views are those of `feature_views`; a network such as `MLP` with
    ``in_features=data.num_features`` fits.

    Features are kept in files, so that a second run and other processes need not compute them. A file belongs to the backbone
    and its weights, `image_size`, `allow_truncated`, and the content of every image in its order (see `content_digests`),
    wherever the images lie and whatever they are called; other images have other files. One that is damaged is computed again,
    with a warning.

    Args:
        images: see `ImageFolder`.
        labels_csv: likewise.
        test_images: likewise.
        test_csv: likewise.
        backbone: "efficientnet_lite0" (the extra `features`), "torchvision:<name>", or "auto", see `find_backbone`.
        image_size: pixels a side that the network sees; `None` takes 96 where the median shorter side of the images is at most
            96, since enlarging them further costs time and brings little, and 224, for which most networks were trained, for
            others. 224 pixels take five times as long as 96.
        cache: folder for the features; "auto" for ``$NOISYLAB_CACHE/features`` or, without that variable,
            ``~/.cache/noisylab/features``; `None` keeps none.
        allow_truncated: see `ImageFolder`.
        skip_unreadable: likewise; `skipped` names the images that were left out.
        file_column: likewise.
        label_column: likewise.
        missing: likewise.
        use_unlabeled: likewise.
        **kwargs: see `NoisyDataModule`.

    Raises:
        FileNotFoundError: in ``setup``, when a folder, the table or the weights are missing.
        ValueError: in ``setup``, naming the files and rows at fault.
    """

    path_arguments = ("images", "labels_csv", "test_images", "test_csv")

    def __init__(
        self,
        images: str,
        labels_csv: str | None = None,
        test_images: str | None = None,
        test_csv: str | None = None,
        backbone: str = "auto",
        image_size: int | None = None,
        cache: str | None = "auto",
        allow_truncated: bool = False,
        skip_unreadable: bool = False,
        file_column: str | None = None,
        label_column: str | None = None,
        missing: Missing = "auto",
        use_unlabeled: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if image_size is not None and image_size < 32:
            raise ValueError(f"image_size must be at least 32 pixels, got {image_size}; leave it out for 96 or 224")
        self.images, self.labels_csv, self.test_images, self.test_csv = images, labels_csv, test_images, test_csv
        self.backbone, self.image_size, self.cache = backbone, image_size, cache
        self.allow_truncated, self.skip_unreadable = allow_truncated, skip_unreadable
        self.file_column, self.label_column, self.missing = file_column, label_column, missing
        self.use_unlabeled = use_unlabeled
        self.skipped: list[str] = []
        self._side, self._scale = 0, 1.0
        self.depth: Depth | None = None
        self._contents: list[list[bytes]] = []

    @property
    def source_classes(self) -> int:
        """The number of classes, counted in folder names or the table, without opening an image."""
        return len(self._classes.names)

    @property
    def num_features(self) -> int:
        """D, known without opening an image; the weights must be on this machine or are fetched."""
        return self._network.num_features

    @property
    def image_paths(self) -> list[str]:
        """(N) files of the training images. Needs ``setup``."""
        return [str(self._lists[0].folder / name) for name in self.source.names or ()]

    @property
    def side(self) -> int:
        """Pixels a side that the network sees. Needs ``setup``."""
        _ = self.source  # says if setup() has not run
        return self._side

    @cached_property
    def _classes(self) -> LabelNames:
        return LabelNames.of(np.array(self._lists[0].classes), None, f"the labels of {self._lists[0].where}")

    @cached_property
    def _lists(self) -> tuple[ImageList, ImageList | None]:
        columns = self.file_column, self.label_column
        return image_lists(
            self.images, self.labels_csv, self.test_images, self.test_csv, *columns, self.missing, self.use_unlabeled
        )

    @cached_property
    def _network(self) -> Backbone:
        if self.adopted is None:
            return find_backbone(self.backbone)
        then = self.adopted["measured"]
        found = find_backbone(then["backbone"])
        if found.digest != then["weights"]:
            raise ValueError(
                f"the model was trained on features of {then['backbone']} with weights other than those now on this machine; put "
                "those weights back, or train again"
            )
        return found

    def prepare_data(self) -> None:
        """Compute the features once for all processes of a machine."""
        if self.cache is not None and self._source is None:
            _ = self._read

    def load(self) -> Source:
        """Read the features, or compute them, and bring them to a common size."""
        parts = self._read
        del self._read  # the features as they are take as much memory as the scaled ones
        self._scale = _scale(parts[0][1]) if self.adopted is None else float(self.adopted["measured"]["scale"])
        source = list_source([(images, self._scaled(features)) for images, features in parts], self._classes)
        source.account += repeated(self._contents[0], self._contents[1], parts[1][0].names) if len(parts) > 1 else []
        return source

    def view_set(self) -> Mapping[str, Any]:
        """Views of feature vectors."""
        return feature_views()

    def digests(self) -> tuple[str, str | None]:
        """Digests of the content of the files."""
        found = [digest_of(contents) for contents in self._contents]
        return found[0], found[1] if len(found) > 1 and not self.folds else None

    def measured(self) -> dict[str, Any]:
        """The network with its weights, the size that it sees, and what the features are divided by."""
        network = self._network
        return {
            "backbone": network.name,
            "weights": network.digest,
            "side": self._side,
            "scale": self._scale,
            "depth": depth_numbers(self.depth),
        }

    def blank(self) -> RowStore:
        """No features."""
        assert self.adopted is not None
        then = self.adopted["measured"]
        self._side, self._scale, self.depth = int(then["side"]), float(then["scale"]), depth_from(then["depth"])
        return super().blank()

    def rows_of(self, images: ImageList, sieve: Sieve) -> tuple[DenseRows, ImageList]:
        """Features of other images, scaled like the training rows, with their names. Needs ``setup``; nothing is saved to files.

        Raises:
            ValueError: naming the images that cannot be read, unless `sieve` leaves them out.
        """
        features, faults = _Extraction(self._network, self.side, self.allow_truncated, None, self.depth).run(images, [])
        return self._scaled(features[[not fault for fault in faults]]), sieve.keep(images, faults)

    @cached_property
    def _read(self) -> list[tuple[ImageList, Rows]]:
        """The training and perhaps the test images that can be read, with their features."""
        sieve = Sieve(self.skip_unreadable)
        looked = [sieve.heads(listed) for listed in self._lists if listed is not None]
        each = [found for _, found in looked]
        heads = [head for found in each for head in found]
        parts, self.depth = with_depth([part for part, _ in looked], each, self.allow_truncated, adopted=self.adopted)
        side = self.image_size if self.adopted is None else int(self.adopted["measured"]["side"])
        if side is None:
            side = _SMALL if median(min(head.width, head.height) for head in heads) <= _SMALL else _LARGE
        extraction = _Extraction(self._network, side, self.allow_truncated, folder_of(self.cache, "features"), self.depth)
        read: list[tuple[ImageList, Rows]] = []
        self._contents = []
        for part in parts:
            contents = content_digests(part.paths)
            features, faults = extraction.run(part, contents)
            kept = [place for place, fault in enumerate(faults) if not fault]
            read.append((sieve.keep(part, faults), features if len(kept) == len(faults) else features[kept]))
            self._contents.append([contents[place] for place in kept])
        self.skipped, self._side = sieve.names, side
        sieve.warn()
        return read

    def _scaled(self, features: Rows) -> DenseRows:
        return DenseRows(torch.from_numpy(features * np.float32(self._scale)))


def _scale(features: Rows) -> float:
    """What brings the root mean square of the features to its size; summed in float64."""
    squares = sum(
        float(np.square(features[start : start + 4096], dtype=np.float64).sum()) for start in range(0, len(features), 4096)
    )
    return _SIZE / float(np.sqrt(squares / features.size)) if squares else 1.0


class _Extraction:
    """Features of lists of images, out of files where they are.

    Args:
        backbone: the network.
        side: pixels a side that it sees.
        allow_truncated: see `open_image`.
        folder: of the files; `None` for no files.
        depth: see `open_image`.
    """

    def __init__(
        self, backbone: Backbone, side: int, allow_truncated: bool, folder: Path | None, depth: Depth | None = None
    ) -> None:
        self.backbone, self.side, self.allow_truncated, self.folder, self.depth = backbone, side, allow_truncated, folder, depth

    def run(self, images: ImageList, contents: Sequence[bytes]) -> tuple[Rows, list[str]]:
        """(N, D) features, rows of NaN for images that cannot be read, and (N) why, see `Sieve.keep`.

        Args:
            images: N images.
            contents: (N) digests of the files, by which features are found; of no use without a folder.
        """
        file = None if self.folder is None else self.folder / f"{self._key(contents)}.npy"
        features = None if file is None else _read_rows(file, len(images))
        if features is None:
            features = np.full((len(images), self.backbone.num_features), np.nan, np.float32)
        # Images that could not be read are in the file as NaN: they are tried again, to say why
        missing = np.flatnonzero(np.isnan(features).any(1)).tolist()
        faults = [""] * len(images)
        if missing:
            before = len(missing)
            self._fill(images, missing, features, faults)
            if file is not None and before > sum(map(bool, faults)):
                _write_rows(file, features)
        return features, faults

    def _key(self, contents: Sequence[bytes]) -> str:
        """Names all that the features depend on."""
        settings = (_FORMAT, self.backbone.name, self.backbone.digest, self.side, self.allow_truncated, self.depth)
        return digest_of(["\0".join(map(str, settings)).encode(), *contents])

    def _fill(self, images: ImageList, places: Sequence[int], features: Rows, faults: list[str]) -> None:
        """Compute the features of the images at some places."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network: FeatureNet | None = None
        with progress_bar(len(places), f"features of {self.backbone.name}", "image") as advance:
            for batch, squares in self._decoded(images, places, _BATCH[device.type]):
                good = [(place, square) for place, square in zip(batch, squares, strict=True) if not isinstance(square, str)]
                for place, square in zip(batch, squares, strict=True):
                    faults[place] = square if isinstance(square, str) else ""
                if good:
                    network = self.backbone.load(self.side).to(device) if network is None else network
                    pixels = torch.from_numpy(np.stack([square for _, square in good])).permute(0, 3, 1, 2)
                    found: Tensor = network(pixels.to(device)).cpu()
                    rows = [place for place, _ in good]
                    features[rows] = found.numpy()
                    for place in np.array(rows)[~np.isfinite(features[rows]).all(1)].tolist():
                        faults[place] = f"{images.names[place]} has features that are nan or infinite"
                        features[place] = np.nan
                advance(len(batch))

    def _decoded(
        self, images: ImageList, places: Sequence[int], size: int
    ) -> Iterator[tuple[Sequence[int], list[NDArray[np.uint8] | str]]]:
        """Batches of places with their images (S, S, 3), or why an image cannot be read; a few batches are decoded ahead."""
        paths = images.paths
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            waiting: deque[tuple[Sequence[int], list[Future[NDArray[np.uint8] | str]]]] = deque()
            for start in range(0, len(places), size):
                batch = places[start : start + size]
                waiting.append((batch, [pool.submit(self._square, paths[place]) for place in batch]))
                if len(waiting) > 2:
                    first, squares = waiting.popleft()
                    yield first, [square.result() for square in squares]
            for batch, squares in waiting:
                yield batch, [square.result() for square in squares]

    def _square(self, path: str) -> NDArray[np.uint8] | str:
        try:
            image = open_image(path, allow_truncated=self.allow_truncated, depth=self.depth)
        except ValueError as error:
            return fault_of(error)
        return np.asarray(ImageOps.fit(image, (self.side, self.side), Image.Resampling.BICUBIC))


def _read_rows(file: Path, length: int) -> Rows | None:
    """The features in a file; `None` where there are none, with a warning if it is damaged."""
    try:
        with regular(file).open("rb") as content:
            intact = _digest(content, file.stat().st_size - _DIGEST) == content.read(_DIGEST)
            content.seek(0)
            features: NDArray[Any] = np.load(content, allow_pickle=False) if intact else np.empty(0)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        rank_zero_warn(f"the features in {file} cannot be read ({error}); they are computed again")
        return None
    if features.ndim == 2 and len(features) == length and features.dtype == np.float32:
        return features
    rank_zero_warn(f"{file} is damaged: the features are computed again and the file is replaced")
    return None


def _write_rows(file: Path, features: Rows) -> None:
    """An .npy file with the SHA-256 of its content after it, which `numpy.load` does not mind."""
    try:
        with atomic_path(file) as partial, partial.open("w+b") as content:
            np.save(content, features, allow_pickle=False)
            size = content.tell()
            content.seek(0)
            digest = _digest(content, size)
            content.seek(size)
            content.write(digest)
    except OSError as error:
        rank_zero_warn(f"the features cannot be kept in {file.parent} ({error}), so another run computes them again; set cache")


def _digest(content: BinaryIO, size: int) -> bytes:
    """SHA-256 of the next `size` bytes of a file, or of as many as it has."""
    digest = hashlib.sha256()
    while size > 0 and (part := content.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return digest.digest()
