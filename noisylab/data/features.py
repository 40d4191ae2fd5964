"""Your own image files as feature vectors of a frozen pretrained network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import digest_of
from noisylab.data.frozen import FrozenFeatures, Rows, check_image_size
from noisylab.data.imagelist import ImageList, Sieve, list_source
from noisylab.data.imageparts import image_lists
from noisylab.data.labels import LabelNames
from noisylab.data.missing import Missing
from noisylab.data.pictures import Depth
from noisylab.data.rows import RowStore
from noisylab.data.suspicions import repeated
from noisylab.transforms.views import feature_views

__all__ = ["ImageFeatures"]


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
        backbone: "efficientnet_lite0" or "efficientnet_lite2" (the extra `features`), "torchvision:<name>", or "auto", see
            `find_backbone`.
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
        check_image_size(image_size)
        self.images, self.labels_csv, self.test_images, self.test_csv = images, labels_csv, test_images, test_csv
        self.backbone, self.image_size, self.cache = backbone, image_size, cache
        self.allow_truncated, self.skip_unreadable = allow_truncated, skip_unreadable
        self.file_column, self.label_column, self.missing = file_column, label_column, missing
        self.use_unlabeled = use_unlabeled
        self.skipped: list[str] = []

    @property
    def source_classes(self) -> int:
        """The number of classes, counted in folder names or the table, without opening an image."""
        return len(self._classes.names)

    @property
    def num_features(self) -> int:
        """D, known without opening an image; the weights must be on this machine or are fetched."""
        return self.frozen.network.num_features

    @property
    def image_paths(self) -> list[str]:
        """(N) files of the training images. Needs ``setup``."""
        return [str(self._lists[0].folder / name) for name in self.source.names or ()]

    @property
    def side(self) -> int:
        """Pixels a side that the network sees. Needs ``setup``."""
        _ = self.source  # says if setup() has not run
        return self.frozen.side

    @property
    def depth(self) -> Depth | None:
        """The bits that images with more than 8 are scaled by. Needs ``setup``."""
        return self.frozen.depth

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
    def frozen(self) -> FrozenFeatures:
        """The network, and the features of the images once they are read; the weights must be on this machine or are fetched."""
        return FrozenFeatures(self.backbone, self.image_size, self.cache, self.allow_truncated, self.adopted)

    def prepare_data(self) -> None:
        """Compute the features once for all processes of a machine."""
        if self.cache is not None and self._source is None:
            _ = self._read

    def load(self) -> Source:
        """Read the features, or compute them, and bring them to a common size."""
        parts = self._read
        del self._read  # the features as they are take as much memory as the scaled ones
        source = list_source([(images, self.frozen.scaled(features)) for images, features in parts], self._classes)
        contents = self.frozen.contents
        source.account += repeated(contents[0], contents[1], parts[1][0].names) if len(parts) > 1 else []
        return source

    def view_set(self) -> Mapping[str, Any]:
        """Views of feature vectors."""
        return feature_views()

    def digests(self) -> tuple[str, str | None]:
        """Digests of the content of the files."""
        found = [digest_of(contents) for contents in self.frozen.contents]
        return found[0], found[1] if len(found) > 1 and not self.folds else None

    def measured(self) -> dict[str, Any]:
        """The network with its weights, the size that it sees, and what the features are divided by."""
        return self.frozen.measured()

    def blank(self) -> RowStore:
        """No features."""
        self.frozen.blank()
        return super().blank()

    @cached_property
    def _read(self) -> list[tuple[ImageList, Rows]]:
        """The training and perhaps the test images that can be read, with their features."""
        sieve = Sieve(self.skip_unreadable)
        read = self.frozen.read([listed for listed in self._lists if listed is not None], sieve)
        self.skipped = sieve.names
        sieve.warn()
        return read
