"""Sets of images take what their strong view does as an argument; views that change with the epoch; views asked for twice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import train_batches
from torch import Tensor

from noisylab.data import CIFAR10, CIFAR100, MNIST, Arrays, Digits, FashionMNIST, ImageFolder, NoisyDataModule, WebImages
from noisylab.data.rows import build_views
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.transforms import (
    AugMix,
    AutoAugment,
    Chain,
    Compose,
    Cutout,
    Draws,
    FixMatchStrong,
    Normalize,
    PILTrain,
    RandAugment,
    RandomCrop,
    RandomCropFlip,
    StrongView,
    ToBytes,
    ToFloat,
    key_from,
)
from noisylab.types import EpochPlan, Phase, Stream

CPU = torch.device("cpu")
VIEW = RandAugment(3, 5)


def arrays(tmp_path: Path, x: Any, **kwargs: Any) -> Arrays:
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(len(x)) % 2)
    data = Arrays(str(tmp_path / "mine.npz"), **kwargs)
    data.setup()
    return data


def folder(root: Path, pixels: int, **kwargs: Any) -> ImageFolder:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(generator.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    data = ImageFolder(str(root), mean=[0.5] * 3, std=[0.5] * 3, flip=0.5, **kwargs)
    data.setup()
    return data


def test_color_images_in_memory_are_cropped_changed_and_normalized(tmp_path: Path) -> None:
    for data in (CIFAR10("nowhere", strong=VIEW), CIFAR100("nowhere", strong=VIEW)):
        crop, change, normalize = data.view_set()["strong"].views
        assert (crop, change) == (RandomCropFlip(4), VIEW) and isinstance(normalize, Normalize)
        assert data.view_set()["weak"] == Compose(crop, normalize)
    expected = Compose(RandomCropFlip(4), Compose(ToBytes(), VIEW), Normalize((0.5,) * 3, (0.5,) * 3))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    assert arrays(tmp_path, pixels, mean=[0.5] * 3, std=[0.5] * 3, flip=0.5, strong=VIEW).view_set()["strong"] == expected
    assert folder(tmp_path / "images", 12, strong=VIEW).view_set()["strong"] == expected


def test_the_default_is_what_it_was(tmp_path: Path) -> None:
    assert CIFAR10("nowhere").view_set()["strong"].views[1] == AutoAugment()
    assert "Contrast" in repr(MNIST("nowhere").view_set()["strong"]) and "Contrast" in repr(Digits().view_set()["strong"])
    assert "PILRandAugment" in repr(folder(tmp_path / "images", 12, load="files", size=8).view_set()["strong"])


def test_gray_images_are_brought_to_bytes_for_it(tmp_path: Path) -> None:
    assert Digits(strong=VIEW).view_set()["strong"] == Compose(RandomCrop(1), ToBytes(16.0), VIEW, ToFloat())
    for data in (MNIST("nowhere", padding=2, strong=VIEW), FashionMNIST("nowhere", padding=2, strong=VIEW)):
        assert data.view_set()["strong"].views[:2] == (RandomCrop(2), Compose(ToBytes(), VIEW))
    gray = np.random.default_rng(0).random((8, 12, 12, 1)).astype(np.float32)
    data = arrays(tmp_path, gray, strong=FixMatchStrong(), batch_size=8)
    (strong,) = next(train_batches(data, ("strong",))).views
    assert strong.shape == (8, 1, 12, 12) and strong.isfinite().all()


def test_digits_keep_their_gray_levels_where_nothing_is_done() -> None:
    data = Digits(strong=RandAugment(1, 1, p=0.0), batch_size=64)
    weak, strong = next(train_batches(data, ("weak", "strong"))).views
    assert set((strong * 255).round().long().unique().tolist()) <= {round(level * 255 / 16) for level in range(17)}
    assert weak.sum().item() == pytest.approx(strong.sum().item(), rel=0.05)  # shifted otherwise


def test_large_pictures_undergo_the_same_operations_in_workers(tmp_path: Path) -> None:
    view = PILTrain(20, 16, (0.5,) * 3, (0.5,) * 3, policy=AugMix(), flip=0.0)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    rng = random.Random(3)
    rng.random()
    left, top = rng.randint(0, 4), rng.randint(0, 4)
    crop = torch.from_numpy(np.array(picture.crop((left, top, left + 16, top + 16)))).permute(2, 0, 1)[None]
    expected = AugMix()(crop, Draws(rng.getrandbits(63), torch.zeros(1, dtype=torch.int64)))[0]
    torch.testing.assert_close(view(picture, random.Random(3)), (expected - 0.5) / 0.5)
    for data in (
        folder(tmp_path / "images", 70, strong=FixMatchStrong(), load="files", size=16),
        WebImages("nowhere", strong=FixMatchStrong()),
    ):
        assert data.view_set()["strong"].policy == FixMatchStrong() and data.view_set()["weak"].policy is None


def test_what_is_no_view_of_images_is_refused() -> None:
    for wrong in (Normalize((0.5,), (0.5,)), RandAugment, "RandAugment"):
        with pytest.raises(TypeError, match=r"strong must be None or a view of images"):
            Digits(strong=wrong)  # type: ignore[arg-type]


# ---- the epoch


def _plan(epoch: int, rows: int, views: tuple[str, ...] = ("weak", "strong")) -> ResolvedPlan:
    plan = EpochPlan((Phase(streams={"train": Stream(views=views)}),))
    return ResolvedPlan(plan, epoch=epoch, seed=4, train_rows=torch.arange(rows), batch_size=3)


def _strong(data: NoisyDataModule, epoch: int, start: int = 0) -> list[Tensor]:
    batches = data.batches(_plan(epoch, 8), CPU, start)
    return [batch["train"].views[1] for batch in batches]  # type: ignore[misc]


@pytest.mark.parametrize("load", ["memory", "files"])
def test_the_level_follows_the_epoch_of_the_plan_and_survives_a_resume(load: str, tmp_path: Path) -> None:
    rising: StrongView = Chain([RandAugment(2, 9, rise_every=10), Cutout(4)])
    data = folder(tmp_path / "a", 16, size=16, load=load, strong=rising)
    fixed = folder(tmp_path / "b", 16, size=16, load=load, strong=Chain([RandAugment(2, 3), Cutout(4)]))
    found, expected = _strong(data, 35), _strong(fixed, 35)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    again = _strong(data, 35, start=2)
    assert all(torch.equal(a, b) for a, b in zip(found[2:], again, strict=True))


# ---- several views of one row


@pytest.mark.parametrize("load", ["memory", "files"])
def test_a_view_asked_for_twice_is_drawn_twice_and_each_can_be_drawn_again(load: str, tmp_path: Path) -> None:
    data = folder(tmp_path / "a", 16, size=16, load=load, strong=VIEW)
    plan = _plan(0, 8, ("weak", "weak", "strong"))
    for batch in data.batches(plan, CPU):
        first, second, strong = batch["train"].views
        assert isinstance(first, Tensor) and isinstance(second, Tensor) and isinstance(strong, Tensor)
        assert not torch.equal(first, second) and not torch.equal(second, strong)
    rows, position = torch.zeros(5, 3, 16, 16, dtype=torch.uint8), torch.arange(5)
    views = {"weak": RandomCropFlip(4, fill=9)}
    built = build_views(rows, position, ("weak", "weak"), 7, views)
    for place, view in enumerate(built):
        assert torch.equal(view, views["weak"](rows, Draws(key_from(7, place, "weak"), position)))  # type: ignore[arg-type]
