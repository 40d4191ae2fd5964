"""Data made up for timing: random pixels or features with random labels, any number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.rows import DenseRows
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.transforms import StrongView, cifar_views
from noisylab.transforms.views import feature_views
from noisylab.types import EpochPlan, Phase, PlanBatch, Stream

__all__ = ["RandomFeatures", "RandomImages", "one_epoch"]


class RandomImages(NoisyDataModule):
    """Color images of 32 x 32 random pixels with the views of CIFAR.

    Args:
        rows: N.
        classes: K, at most N.
        strong: what the strong view does; `None` for AutoAugment.
        **kwargs: see `NoisyDataModule`.
    """

    def __init__(self, rows: int, classes: int = 10, strong: StrongView | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.classes, self.strong = rows, classes, strong

    @property
    def source_classes(self) -> int:
        """As asked for."""
        return self.classes

    def load(self) -> Source:
        """The same rows every time."""
        clean = torch.arange(self.rows) % self.classes
        given, pairs = clean.clone(), torch.arange(0, self.rows - 1, 7)
        # two of seven labels are wrong, and known to be: diagnostics have something to tell, and no class is lost
        given[pairs], given[pairs + 1] = clean[pairs + 1], clean[pairs]
        names = tuple(str(number) for number in range(self.classes))
        return Source(DenseRows(self.inputs()), given, names, clean=clean)

    def inputs(self) -> Tensor:
        """(N, 3, 32, 32) uint8."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (self.rows, 3, 32, 32), generator=generator, dtype=torch.uint8)

    def view_set(self) -> Mapping[str, Any]:
        """Those of CIFAR."""
        return cifar_views(strong=self.strong)


class RandomFeatures(RandomImages):
    """Vectors of normal numbers with the views of features.

    Args:
        rows: N.
        classes: K, at most N.
        features: D.
        **kwargs: see `NoisyDataModule`.
    """

    def __init__(self, rows: int, classes: int = 10, features: int = 64, **kwargs: Any) -> None:
        super().__init__(rows, classes, None, **kwargs)
        self.features = features

    def inputs(self) -> Tensor:
        """(N, D) float32."""
        return torch.randn(self.rows, self.features, generator=torch.Generator().manual_seed(0))

    def view_set(self) -> Mapping[str, Any]:
        """Those of features."""
        return feature_views()


def one_epoch(
    data: NoisyDataModule, device: torch.device, views: tuple[str, ...] = ("weak",), epoch: int = 0
) -> Iterator[PlanBatch]:
    """The batches that a method with these views would be given in an epoch, without a Trainer."""
    data.setup("fit")
    plan = ResolvedPlan(
        EpochPlan((Phase(streams={"train": Stream(views=views)}),)),
        epoch=epoch,
        seed=data.seed,
        train_rows=data.info.train_rows,
        batch_size=data.batch_size,
    )
    return data.batches(plan, device)
