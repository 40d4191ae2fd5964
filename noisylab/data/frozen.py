"""Pictures as feature vectors of a frozen pretrained network, computed once and kept in files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.caches import folder_of, progress_bar
from noisylab.data.digests import content_digests, digest_of
from noisylab.data.examined import with_depth
from noisylab.data.identity import depth_from, depth_numbers
from noisylab.data.imagelist import ImageList, Sieve
from noisylab.data.pictures import Depth, fault_of, open_image
from noisylab.data.rowfiles import read_rows, write_rows
from noisylab.data.rows import DenseRows
from noisylab.models.backbones import Backbone, FeatureNet, find_backbone

__all__ = ["FrozenFeatures", "Rows", "check_image_size"]

_SMALL, _LARGE = 96, 224  # pixels a side given to the network
_SIZE = 0.5  # root mean square of the features as they are trained on
_THREADS = 8  # that decode
_BATCH = {"cpu": 16, "cuda": 256}  # on a CPU, activations of 16 images stay in its cache
_FORMAT = "noisylab features 4"  # another number where pixels are read or prepared in another way

Rows = NDArray[np.float32]


def check_image_size(image_size: int | None) -> None:
    """Refuse pictures that are too small for a network.

    Raises:
        ValueError: below 32 pixels.
    """
    if image_size is not None and image_size < 32:
        raise ValueError(f"image_size must be at least 32 pixels, got {image_size}; leave it out for 96 or 224")


class FrozenFeatures:
    """The features of lists of pictures; the arguments are those of `ImageFeatures`.

    Args:
        backbone: name of the network.
        image_size: pixels a side that it sees.
        cache: folder for the features.
        allow_truncated: see `open_image`.
        adopted: record of the model whose data these are, see `FittedData.adopt`.

    Attributes:
        contents: of each list that was read, digests of its files.
    """

    def __init__(
        self,
        backbone: str,
        image_size: int | None,
        cache: str | None,
        allow_truncated: bool,
        adopted: Mapping[str, Any] | None = None,
    ) -> None:
        self.image_size, self.cache, self.allow_truncated, self.adopted = image_size, cache, allow_truncated, adopted
        self.network = _network(backbone, adopted)
        self.side, self.scale = 0, 1.0
        self.depth: Depth | None = None
        self.contents: list[list[bytes]] = []

    def read(self, lists: Sequence[ImageList], sieve: Sieve) -> list[tuple[ImageList, Rows]]:
        """The images that can be read, with their features; those of the first list set the scale.

        Args:
            lists: the training images and perhaps the test images.
            sieve: what becomes of those that cannot be read.
        """
        looked = [sieve.heads(listed) for listed in lists]
        each = [found for _, found in looked]
        heads = [head for found in each for head in found]
        parts, self.depth = with_depth([part for part, _ in looked], each, self.allow_truncated, adopted=self.adopted)
        side = self.image_size if self.adopted is None else int(self.adopted["measured"]["side"])
        if side is None:
            side = _SMALL if median(min(head.width, head.height) for head in heads) <= _SMALL else _LARGE
        extraction = _Extraction(self.network, side, self.allow_truncated, folder_of(self.cache, "features"), self.depth)
        read: list[tuple[ImageList, Rows]] = []
        self.contents = []
        for part in parts:
            contents = content_digests(part.paths)
            features, faults = extraction.run(part, contents)
            kept = [place for place, fault in enumerate(faults) if not fault]
            read.append((sieve.keep(part, faults), features if len(kept) == len(faults) else features[kept]))
            self.contents.append([contents[place] for place in kept])
        self.side = side
        self.scale = _scale(read[0][1]) if self.adopted is None else float(self.adopted["measured"]["scale"])
        return read

    def scaled(self, features: Rows) -> DenseRows:
        """Features as they are trained on."""
        return DenseRows(torch.from_numpy(features * np.float32(self.scale)))

    def rows_of(self, images: ImageList, sieve: Sieve) -> tuple[DenseRows, ImageList]:
        """Features of other images, scaled like the training rows, with their names; nothing is saved to files.

        Raises:
            ValueError: naming the images that cannot be read, unless `sieve` leaves them out.
        """
        features, faults = _Extraction(self.network, self.side, self.allow_truncated, None, self.depth).run(images, [])
        return self.scaled(features[[not fault for fault in faults]]), sieve.keep(images, faults)

    def measured(self) -> dict[str, Any]:
        """The network with its weights, the size that it sees, and what the features are divided by."""
        return {
            "backbone": self.network.name,
            "weights": self.network.digest,
            "side": self.side,
            "scale": self.scale,
            "depth": depth_numbers(self.depth),
        }

    def blank(self) -> None:
        """Take what was measured from the adopted record, without any image."""
        assert self.adopted is not None
        then = self.adopted["measured"]
        self.side, self.scale, self.depth = int(then["side"]), float(then["scale"]), depth_from(then["depth"])


def _network(name: str, adopted: Mapping[str, Any] | None) -> Backbone:
    """The network of that name, or that of the adopted record."""
    if adopted is None:
        return find_backbone(name)
    then = adopted["measured"]
    found = find_backbone(then["backbone"])
    if found.digest != then["weights"]:
        raise ValueError(
            f"the model was trained on features of {then['backbone']} with weights other than those now on this machine; put "
            "those weights back, or train again"
        )
    return found


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
        features = None if file is None else read_rows(file, len(images))
        if features is None:
            features = np.full((len(images), self.backbone.num_features), np.nan, np.float32)
        # Images that could not be read are in the file as NaN: they are tried again, to say why
        missing = np.flatnonzero(np.isnan(features).any(1)).tolist()
        faults = [""] * len(images)
        if missing:
            before = len(missing)
            self._fill(images, missing, features, faults)
            if file is not None and before > sum(map(bool, faults)):
                write_rows(file, features)
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
