"""CIFAR-10 and CIFAR-100, from the files of their Python release."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.cifarfiles import check, layout_of, prepare, read
from noisylab.data.release import ReleaseReport
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

__all__ = ["CIFAR10", "CIFAR100", "CIFARImages"]

_STATISTICS = {"CIFAR10": (CIFAR10_MEAN, CIFAR10_STD), "CIFAR100": (CIFAR100_MEAN, CIFAR100_STD)}


class CIFARImages(NoisyDataModule, ABC):
    """The images of CIFAR-10 or CIFAR-100, and their views. A level of its own below the base because the sets on these images
    differ in release and labels alone.

    Args:
        root: folder of the files.
        download: fetch the archive of the images when neither it nor their folder is there.
        normalize: "cifar" for the release's mean and standard deviation, "imagenet" for those of ImageNet, "none" for pixels in
            [0, 1] as they are.
        verify: refuse files that do not have the official digests. With or without the check, nothing but arrays, numbers
            and text is read out of them.
        mean: three numbers that are subtracted from pixels in [0, 1], in place of what `normalize` names; with `std`.
        std: three positive numbers to divide by; with `mean`.
        padding: pixels on each side of the image that is cropped from, 0 or more.
        strong: what the view "strong" does after crop and flip; `None` for AutoAugment.
        **kwargs: see `NoisyDataModule`.
    """

    path_arguments: ClassVar[tuple[str, ...]] = ("root",)

    @property
    @abstractmethod
    def release(self) -> Literal["CIFAR10", "CIFAR100"]:
        """Which of the two releases is read; known before any file is."""

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
        return 10 if self.release == "CIFAR10" else 100

    def prepare_data(self) -> None:
        """Fetch and unpack what is not there yet."""
        prepare(layout_of(self.release), self.root, self.download, self.verify)

    def load(self) -> Source:
        """Read the files, after `prepare_data` where that has not run."""
        self.prepare_data()
        return read(layout_of(self.release), self.root, self.verify)

    def view_set(self) -> Mapping[str, Any]:
        """Crop and flip, then AutoAugment or what was chosen."""
        named = {
            "cifar": _STATISTICS[self.release],
            "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
            "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        }[self.normalize]
        return cifar_views(self.mean or named[0], self.std or named[1], self.padding, self.strong)


class CIFAR10(CIFARImages):
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

    release = "CIFAR10"

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Whether the folder or, without it, the archive has the official digests; see `NamedRelease`."""
        return _checked("CIFAR10", cls.__name__, root)


class CIFAR100(CIFARImages):
    """CIFAR-100: 50,000 training and 10,000 test color images of 32 x 32 pixels, 100 fine classes (Krizhevsky, 2009).

    The two noisy sets of ACT, both synthetic, are this class with a noise: CIFAR100N is ``OpenSet(rate, open_ratio=0)``,
    CIFAR80N is ``OpenSet(rate)`` with 80 classes, whose test set is the 8,000 images of the known classes. The human labels
    that share the name CIFAR-100N are those of `CIFARN`.

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

    release = "CIFAR100"

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Whether the folder or, without it, the archive has the official digests; see `NamedRelease`."""
        return _checked("CIFAR100", cls.__name__, root)


def _checked(release: Literal["CIFAR10", "CIFAR100"], name: str, root: Path) -> ReleaseReport:
    report = ReleaseReport(name, root)
    check(layout_of(release), report)
    return report
