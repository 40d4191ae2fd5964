"""The random resized crop that networks are trained with on ImageNet, of one large image in a loader worker."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from noisylab.transforms.base import Compose
from noisylab.transforms.contrastive import random_region
from noisylab.transforms.cuts import CutView, RegionCut
from noisylab.transforms.image import Normalize, RandomHorizontalFlip
from noisylab.transforms.pil import PILView, normalized, pixels_of
from noisylab.transforms.views import ViewsBy, check_views_by

__all__ = ["PILResizedCrop", "resized_crop_view"]


@dataclass(frozen=True)
class PILResizedCrop(PILView):
    """Resize the shorter side, scale a random region to a square, flip, normalize.

    The region's share of the area is uniform between `least` and 1, the ratio of its sides between 3/4 and 4/3 on a logarithmic
    scale, as in `torchvision.transforms.RandomResizedCrop`.

    Args:
        crop: side of the result, in pixels.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        resize: length of the shorter side before, in pixels.
        least: smallest share of the area, in (0, 1].
        flip: probability of mirroring left to right.
    """

    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int
    least: float = 0.08
    flip: float = 0.5

    def __call__(self, image: Image.Image, rng: random.Random) -> Tensor:
        """(3, crop, crop) float32."""
        image = image.convert("RGB")
        width, height = image.size
        short, long = min(width, height), max(width, height)
        if short != self.resize:
            length = max(self.resize, int(self.resize * long / short))
            size = (self.resize, length) if width <= height else (length, self.resize)
            image = image.resize(size, Image.Resampling.BILINEAR)
        top, left, height, width = random_region(image.width, image.height, rng, self.least)
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((self.crop, self.crop), Image.Resampling.BILINEAR)
        if rng.random() < self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return normalized(pixels_of(image), self.mean, self.std)


def resized_crop_view(
    crop: int, mean: tuple[float, ...], std: tuple[float, ...], resize: int, views: ViewsBy
) -> PILResizedCrop | CutView:
    """`PILResizedCrop`, or the same in two steps, where the region is scaled once, from the picture as it is.

    Args:
        crop: see `PILResizedCrop`, as for the next three.
        mean: likewise.
        std: likewise.
        resize: likewise.
        views: see `noisylab.transforms.views.web_views`.
    """
    view = PILResizedCrop(crop, mean, std, resize)
    if check_views_by(views) == "pil":
        return view
    return CutView(RegionCut(crop, view.least), Compose(RandomHorizontalFlip(view.flip), Normalize(mean, std)))
