"""Gaussian blobs in memory and networks for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.rows import DenseRows
from noisylab.data.semi import LabelBudget
from noisylab.models import MLP
from noisylab.transforms.features import FeatureIdentity, FeatureNoise


class ToyData(NoisyDataModule):
    """Gaussian blobs around a circle, `classes` of them.

    Data for a method that needs trusted rows has some, and for one that learns from unlabeled rows half of them have no label.

    Views: "weak" adds keyed noise, "strong" and "simclr" five times as much; "eval" and "plain" are the features themselves.

    Args:
        num_train: N.
        num_test: test rows.
        classes: K.
        features: D, at least 2; all but two are pure noise.
        spread: standard deviation of a blob; the circle has radius 3.
        blob_seed: names the points.
        weak: standard deviation of the weak view's noise.
        unlabel: whether half of the rows lose their label; None to go by the method.
    """

    def __init__(
        self,
        num_train: int = 40,
        num_test: int = 20,
        classes: int = 3,
        features: int = 2,
        spread: float = 1.0,
        blob_seed: int = 0,
        weak: float = 0.1,
        unlabel: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"batch_size": 8, "eval_batch_size": 16, **kwargs})
        self.num_train, self.num_test, self.classes, self.features = num_train, num_test, classes, features
        self.spread, self.blob_seed, self.weak, self.unlabel = spread, blob_seed, weak, unlabel

    def setup(self, stage: str | None = None) -> None:
        """Two trusted rows a class, or labels for half of the rows, for a method that needs it, where a test did not say."""
        method: Any = None if self.trainer is None else self.trainer.lightning_module
        if method is not None and method.needs_trusted and not self.has_trusted:
            self.trusted_per_class = 2
        wanted = method is not None and method.uses_unlabeled if self.unlabel is None else self.unlabel
        if wanted and self.label_budget is None and self._source is None:
            self.label_budget = LabelBudget(total=(len(self.load().given) + 1) // 2, balanced=False)
        super().setup(stage)

    @property
    def source_classes(self) -> int:
        return self.classes

    def load(self) -> Source:
        generator = torch.Generator().manual_seed(self.blob_seed)

        def blobs(count: int) -> tuple[DenseRows, torch.Tensor]:
            target = torch.arange(count) % self.classes
            angle = target * (2 * math.pi / self.classes)
            points = torch.randn(count, self.features, generator=generator) * self.spread
            points[:, 0] += 3 * angle.cos()
            points[:, 1] += 3 * angle.sin()
            return DenseRows(points), target

        train, target = blobs(self.num_train)
        test, test_target = blobs(self.num_test)
        names = tuple(f"blob{c}" for c in range(self.classes))
        return Source(train, target, names, clean=target, test=test, test_target=test_target)

    def view_set(self) -> Mapping[str, Any]:
        return {
            "weak": FeatureNoise(self.weak),
            "strong": FeatureNoise(5 * self.weak),
            "simclr": FeatureNoise(5 * self.weak),
            "plain": FeatureIdentity(),
            "eval": FeatureIdentity(),
        }


class PlainMLP(MLP):
    """A small network without randomness or batch statistics."""

    def __init__(self, num_classes: int, in_features: int = 2, hidden: tuple[int, ...] = (8,)) -> None:
        super().__init__(num_classes, in_features, hidden)


class DropoutMLP(MLP):
    """A small network that draws in training and keeps batch statistics."""

    def __init__(self, num_classes: int, in_features: int = 2, hidden: tuple[int, ...] = (8,)) -> None:
        super().__init__(num_classes, in_features, hidden, dropout=0.3, batch_norm=True)


class BatchNormMLP(MLP):
    """A small network that keeps batch statistics and does not draw."""

    def __init__(self, num_classes: int, in_features: int = 2, hidden: tuple[int, ...] = (8,)) -> None:
        super().__init__(num_classes, in_features, hidden, batch_norm=True)
