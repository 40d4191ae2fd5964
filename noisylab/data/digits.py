"""Scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.rows import DenseRows
from noisylab.data.splits import stratified_subset
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import checked_strong, digit_views

__all__ = ["Digits"]


class Digits(NoisyDataModule):
    """1,797 images of handwritten digits, 8 x 8 pixels with values 0..16, ten classes (Alpaydin and Kaynak, UCI, 1998).

    A fixed stratified fifth of the images (359) is the test set; the other 1,438 are the training rows.

    Views: "weak" shifts by up to one pixel; "strong" also changes contrast and adds noise.

    Args:
        strong: what the view "strong" does after the shift: `RandAugment`, `FixMatchStrong`, `AugMix`, `TrivialAugment`,
            `AutoAugment` or `Cutout`, with their arguments; `None` for contrast and noise.
        **kwargs: see `NoisyDataModule`.

    Example:
        >>> data = Digits(batch_size=64)
        >>> data.setup()
        >>> data.num_classes, data.info.num_train
        (10, 1438)
    """

    def __init__(self, strong: StrongView | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strong = checked_strong(strong)

    @property
    def source_classes(self) -> int:
        """Ten classes."""
        return 10

    def load(self) -> Source:
        """Read the images that come with scikit-learn."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(bunch.target).long()
        rows = torch.arange(len(labels))
        test = stratified_subset(rows, labels, len(rows) // 5, seed=0)
        train = torch.ones(len(rows), dtype=torch.bool)
        train[test] = False
        return Source(
            train=DenseRows(images[train]),
            given=labels[train],
            clean=labels[train],
            test=DenseRows(images[test]),
            test_target=labels[test],
            class_names=tuple(str(digit) for digit in range(10)),
        )

    def view_set(self) -> Mapping[str, Any]:
        """Views with shifts; contrast and noise, or what was chosen, in the strong one."""
        return digit_views(scale=16.0, strong=self.strong)
