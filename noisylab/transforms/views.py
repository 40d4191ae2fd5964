"""The named sets of views that data modules use: "weak" and "strong" for training, "simclr" for contrastive pre-training, "eval"
for evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from torch import Tensor

from noisylab.transforms.autoaugment import AutoAugment
from noisylab.transforms.base import Compose, StrongView, View
from noisylab.transforms.columns import FromColumn, SwapColumns
from noisylab.transforms.contrastive import ColorJitter, PILSimCLR, RandomGray, simclr_view
from noisylab.transforms.cuts import CutView, RegionCut, SquareCut
from noisylab.transforms.features import FeatureIdentity, FeatureNoise, FeatureScale
from noisylab.transforms.image import (
    Contrast,
    GaussianNoise,
    Normalize,
    RandomCrop,
    RandomCropFlip,
    RandomHorizontalFlip,
    ToBytes,
    ToFloat,
)
from noisylab.transforms.pil import PILEval, PILRandAugment, PILTrain, PILView
from noisylab.transforms.randaugment import RandAugment

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "CIFAR100_MEAN",
    "CIFAR100_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ViewsBy",
    "check_image_views",
    "check_views_by",
    "checked_strong",
    "cifar_views",
    "digit_views",
    "feature_views",
    "image_views",
    "table_views",
    "web_views",
]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)
CIFAR100_MEAN = (0.5071, 0.4867, 0.4408)
CIFAR100_STD = (0.2675, 0.2565, 0.2761)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ViewsBy: TypeAlias = Literal["pil", "device"]
"""Who makes the views of large images: Pillow in loader workers, or the training device."""


def cifar_views(
    mean: tuple[float, ...] = CIFAR10_MEAN,
    std: tuple[float, ...] = CIFAR10_STD,
    padding: int = 4,
    strong: StrongView | None = None,
) -> dict[str, View]:
    """Views of (B, 3, H, W) uint8 color images.

    weak: padded crop, flip. strong: the same, drawn separately, then AutoAugment (CIFAR-10 policy). simclr: see
    `noisylab.transforms.contrastive.simclr_view`. eval: none of these. All are normalized.

    Args:
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        padding: largest shift of the crop, in pixels.
        strong: replaces AutoAugment.
    """
    normalize = Normalize(mean, std)
    crop = RandomCropFlip(padding)
    return {
        "weak": Compose(crop, normalize),
        "strong": Compose(crop, strong or AutoAugment(), normalize),
        "simclr": simclr_view(normalize, flip=0.5),
        "eval": normalize,
    }


def check_image_views(
    mean: Sequence[float] | None, std: Sequence[float] | None, padding: int = 4, flip: float | None = None
) -> None:
    """Refuse values that cannot be used to normalize, crop or mirror images.

    Raises:
        ValueError: naming the argument.
    """
    if mean is not None and not all(math.isfinite(value) for value in mean):
        raise ValueError(f"mean must hold finite numbers, got {list(mean)}")
    if std is not None and not all(0 < value < math.inf for value in std):
        raise ValueError(f"std must hold positive numbers, got {list(std)}")
    if padding < 0:
        raise ValueError(f"padding must be 0 or more pixels, got {padding}")
    if flip is not None and not 0 <= flip <= 1:
        raise ValueError(f"flip must be a probability in [0, 1], got {flip}")


def checked_strong(strong: StrongView | None) -> StrongView | None:
    """The strong view that was given, after a check.

    Raises:
        TypeError: if it is not a view of images.
    """
    if strong is None or isinstance(strong, StrongView):
        return strong
    raise TypeError(
        f"strong must be None or a view of images such as RandAugment(n=2, m=9), AugMix() or Cutout(16), got {strong!r}; a view "
        "of your own derives from noisylab.transforms.StrongView"
    )


def check_views_by(views: ViewsBy) -> ViewsBy:
    """Who makes the views of large images, after a check.

    Raises:
        ValueError: for anything else.
    """
    if views not in ("pil", "device"):
        raise ValueError(f"views must be 'pil' or 'device', got {views!r}")
    return views


def image_views(
    mean: tuple[float, ...],
    std: tuple[float, ...],
    padding: int = 4,
    flip: float | None = None,
    strong: StrongView | None = None,
) -> dict[str, View]:
    """Views of small images (B, C, H, W), C = 1 or 3, uint8 or, for C = 1, float in [0, 1].

    weak: padded crop and flip. strong: the same, then AutoAugment for three channels, contrast (factor 0.5 to 1.5) and noise
    (standard deviation 0.25) for one. simclr: see `noisylab.transforms.contrastive.simclr_view`. eval: none of these. All are
    normalized.

    Args:
        mean: per channel, of pixels in [0, 1]; its length is C.
        std: likewise.
        padding: largest shift of the crop, in pixels.
        flip: probability of mirroring; `None` for 0.5 with three channels and 0 with one, since a mirrored digit or letter
            is a different character.
        strong: replaces what the strong view does after crop and flip; float images are rounded to 256 gray levels for it.

    Raises:
        ValueError: for another number of channels.
    """
    if len(mean) not in (1, 3):
        raise ValueError(f"mean={mean} has {len(mean)} values: images have 1 or 3 channels; compose other views yourself.")
    normalize = Normalize(mean, std)
    p = flip if flip is not None else (0.5 if len(mean) == 3 else 0.0)
    crop: View = RandomCropFlip(padding, p=p) if p else RandomCrop(padding)
    change: View = AutoAugment() if len(mean) == 3 else Compose(ToFloat(), Contrast(0.5, 1.5), GaussianNoise(0.25))
    if strong is not None:
        change = Compose(ToBytes(), strong)
    return {
        "weak": Compose(crop, normalize),
        "strong": Compose(crop, change, normalize),
        "simclr": simclr_view(normalize, flip=p),
        "eval": normalize,
    }


def digit_views(scale: float = 16.0, strong: StrongView | None = None) -> dict[str, View]:
    """Views of tiny one-channel images (B, 1, 8, 8) uint8, scaled to [0, 1].

    weak: shift by at most one pixel. strong: shift, contrast (factor 0.5 to 1.5), noise (standard deviation 0.25).
    simclr: a crop of half the image or more scaled back to size, brightness and contrast. eval: none of these. Values of the
    strong view may lie outside [0, 1].

    Args:
        scale: the largest gray level; pixels are divided by it.
        strong: replaces what the strong view does after the shift; gray levels are stretched to 0..255 for it.
    """
    shift, unit = RandomCrop(1), ToFloat(scale)
    change: tuple[View, ...] = (unit, Contrast(0.5, 1.5), GaussianNoise(0.25))
    if strong is not None:
        change = (ToBytes(scale), strong, ToFloat())
    return {
        "weak": Compose(shift, unit),
        "strong": Compose(shift, *change),
        "simclr": simclr_view(None, flip=0.0, least=0.5, maximum=scale),
        "eval": unit,
    }


def feature_views(std: float = 0.25, low: float = 0.8, high: float = 1.2) -> dict[str, View]:
    """Views of feature vectors (B, D), as float32.

    weak and eval: unchanged. strong and simclr: one random factor for the sample, then noise on every feature.

    Args:
        std: standard deviation of the noise, in units of the features: scale them to unit variance first.
        low: smallest factor.
        high: largest factor.
    """
    same = FeatureIdentity()
    strong = Compose(FeatureScale(low, high), FeatureNoise(std))
    return {"weak": same, "strong": strong, "simclr": strong, "eval": same}


def table_views(donors: Tensor, groups: Tensor, strong: float = 0.3, simclr: float = 0.6) -> dict[str, View]:
    """Views of rows of a table (B, D), as float32.

    weak and eval: unchanged. strong and simclr: each column is replaced, with a probability, by that of another row, see
    `SwapColumns`; numbers of vectors, which come last, are changed as in `feature_views`.

    Args:
        donors: (M, D) rows that columns are taken from.
        groups: (D,) int64, the column that each number was made of, -1 for those of vectors.
        strong: the probability in the strong view; 0.3 as in VIME.
        simclr: that in the view for contrastive pre-training; 0.6 is the share in SCARF.
    """
    same, vectors, begin = FeatureIdentity(), feature_views()["strong"], int((groups >= 0).sum())
    if begin == 0:
        return feature_views()
    swaps: list[View] = [SwapColumns(donors, groups, rate) for rate in (strong, simclr)]
    if begin < len(groups):
        swaps = [Compose(swap, FromColumn(begin, vectors)) for swap in swaps]
    return {"weak": same, "strong": swaps[0], "simclr": swaps[1], "eval": same}


def web_views(
    resize: int = 448,
    crop: int = 448,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    strong: StrongView | None = None,
    views: ViewsBy = "pil",
    flip: float = 0.5,
) -> Mapping[str, PILView | CutView]:
    """Views of large color images.

    weak: resize, flip, random crop. strong: the same, then the RandAugment of the package `randaugment`. simclr: see
    `noisylab.transforms.contrastive.PILSimCLR`. eval: resize, center crop. All are normalized.

    Args:
        resize: length of the shorter side, in pixels.
        crop: side of the square, in pixels, at most `resize`.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        strong: replaces RandAugment.
        views: "pil": loader workers do all of it, one picture at a time, with Pillow, and by default with the package itself (the
            extra `noisylab[views]`). "device": they decode, resize and cut, and the training device does the rest in batches, by
            the same operations; other numbers are drawn for it.
        flip: probability of mirroring left to right.

    Raises:
        ValueError: for an unknown `views`, or a `crop` larger than `resize`.
    """
    if check_views_by(views) == "device":
        return _cut_views(resize, crop, Normalize(mean, std), strong or PACKAGE_RAND_AUGMENT, flip)
    return {
        "weak": PILTrain(resize, crop, mean, std, flip=flip),
        "strong": PILTrain(resize, crop, mean, std, policy=strong or PILRandAugment(), flip=flip),
        "simclr": PILSimCLR(crop, mean, std, flip=flip),
        "eval": PILEval(resize, crop, mean, std),
    }


PACKAGE_RAND_AUGMENT = RandAugment(2, None, "act", fill=128)
"""What `PILRandAugment` draws, on batches."""


def _cut_views(resize: int, crop: int, normalize: View, strong: StrongView, flip: float) -> dict[str, CutView]:
    mirror = (RandomHorizontalFlip(flip),) if flip else ()
    square = SquareCut(resize, crop)
    return {
        "weak": CutView(square, Compose(*mirror, normalize)),
        "strong": CutView(square, Compose(*mirror, strong, normalize)),
        "simclr": CutView(RegionCut(crop), Compose(*mirror, ToFloat(), ColorJitter(), RandomGray(), normalize)),
        "eval": CutView(SquareCut(resize, crop, middle=True), normalize),
    }
