"""Images found on the web: a noisy training folder and a clean test folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.examined import unreadable
from noisylab.data.imagelist import ImageList, Sieve, check_images, class_folders, list_source
from noisylab.data.imagerows import file_rows
from noisylab.data.labels import LabelNames
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import ViewsBy, checked_strong, web_views

__all__ = ["WebImages"]


class WebImages(NoisyDataModule):
    """Web-Aircraft, Web-Bird or Web-Car (WebFG-496; Sun et al., ICCV 2021), or any set laid out like them.

    ``root/train/<class>/*.jpg`` are images as a search engine returned them, with closed and open noise whose truth nobody knows;
    ``root/val/<class>/*.jpg`` are the clean test images. There is no validation split unless `val_fraction` asks for one, whose
    labels are as given.

    Views: "weak" brings the shorter side to `resize`, flips, and cuts out a random square of `crop` pixels;
    "strong" adds RandAugment. Colors are normalized as for ImageNet, since the networks are pretrained on it.

    Args:
        root: folder with ``train`` and ``val``.
        resize: length of the shorter side, in pixels.
        crop: side of the square that a network sees, in pixels, at most `resize`.
        allow_truncated: fill up JPEG files that end early, of which the web has some, with gray instead of refusing them.
        strong: what the view "strong" does after crop and flip: `RandAugment`, `FixMatchStrong`, `AugMix`, `TrivialAugment`,
            `AutoAugment` or `Cutout`, with their arguments; `None` for RandAugment of
            the package `randaugment`.
        views: "pil" for views that worker processes make alone, "device" for those of which the training device makes the larger
            part, see `web_views`.
        **kwargs: see `NoisyDataModule`; set `num_workers`.

    Raises:
        FileNotFoundError: in ``setup``, when a folder is missing.
        ValueError: in ``setup``, for an empty class folder, a test class without training images, or files that are no images.
    """

    path_arguments = ("root",)

    def __init__(
        self,
        root: str,
        resize: int = 448,
        crop: int = 448,
        allow_truncated: bool = True,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root, self.allow_truncated = Path(root), allow_truncated
        self._transforms = web_views(resize, crop, strong=checked_strong(strong), views=views)

    @property
    def source_classes(self) -> int:
        """Counted in the names of the folders."""
        return len(self._classes.names)

    @cached_property
    def _train(self) -> ImageList:
        return class_folders(self.root, "train")

    @cached_property
    def _classes(self) -> LabelNames:
        return LabelNames.of(np.array(self._train.classes), None, f"the folder names of {self._train.where}")

    def load(self) -> Source:
        """List the files and decode each once; see `examine`."""
        parts = [self._train, class_folders(self.root, "val").labeled()]
        for part in parts:
            check_images(part)
            Sieve().keep(part, unreadable(part, self.allow_truncated))
        rows = [(part, file_rows(part, self._transforms, self.num_workers, self.allow_truncated)) for part in parts]
        return list_source(rows, self._classes)

    def view_set(self) -> Mapping[str, Any]:
        """Views of large images."""
        return self._transforms
