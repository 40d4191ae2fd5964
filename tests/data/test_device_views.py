"""Views of image files of which workers make a part and the training device the rest."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_trainer
from helpers.pretended_gpu import CUDA, pretended_gpu
from PIL import Image
from samples import train_batches, write_image
from torch import Tensor

from noisylab.callbacks import RunCheckpoint
from noisylab.data import ImageFolder, WebImages, cutrows
from noisylab.data.named import Clothing1M, Food101N, WebFG, WebVision
from noisylab.data.pictures import open_image, open_reduced
from noisylab.data.rows import ViewTask
from noisylab.data.sample import one_sample
from noisylab.engine.plan_loader import ResolvedPlan
from noisylab.methods import CrossEntropy
from noisylab.models import SmallCNN
from noisylab.transforms import AugMix, CutView, Draws, PILEval, RandAugment, key_from, web_views
from noisylab.types import EpochPlan, Phase, Stream

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIZES = [(30, 20), (17, 31), (16, 16), (40, 23), (14, 14), (90, 20), (20, 90)]
NAMES = ("weak", "strong", "simclr", "weak")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, size in enumerate(SIZES):
        write_image(tmp_path / "images" / "ab"[place % 2] / f"{place}.{'png' if place % 3 else 'jpg'}", size, seed=place)
    return tmp_path / "images"


def images(folder: Path, views: Any = "device", **kwargs: Any) -> ImageFolder:
    options = {"load": "files", "size": 12, "resize": 14, "batch_size": 3, "mean": [*MEAN], "std": [*STD], "flip": 0.5}
    return ImageFolder(str(folder), views=views, **{**options, "strong": RandAugment(1, 9), **kwargs})


# ---- what they look like


def _slowly(picture: Image.Image, name: str, cut: Draws, draws: Draws) -> Tensor:
    """The view of one picture, in Pillow's words and a loop over its channels."""
    if name == "simclr":
        drawn = cut.uniform(shape=(22,))[0].tolist()
        side = min(picture.size)
        corner = (picture.width - side) // 2, (picture.height - side) // 2
        box = (*corner, corner[0] + side, corner[1] + side)
        for share, ratio in zip(drawn[:10], drawn[10:20], strict=True):
            area = picture.width * picture.height * (0.2 + 0.8 * share)
            ratio = (3 / 4) ** (1 - ratio) * (4 / 3) ** ratio
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if width <= picture.width and height <= picture.height:
                left, top = int(drawn[20] * (picture.width - width + 1)), int(drawn[21] * (picture.height - height + 1))
                box = (left, top, left + width, top + height)
                break
        square = picture.crop(box).resize((12, 12), Image.Resampling.BILINEAR)
    else:
        shorter = min(picture.size)
        longer = int(14 * max(picture.size) / shorter)
        size = (14, longer) if picture.width <= picture.height else (longer, 14)
        scaled = picture.resize(size, Image.Resampling.BILINEAR)
        left, top = (int(u * (side - 12 + 1)) for u, side in zip(cut.uniform(shape=(2,))[0].tolist(), size, strict=True))
        square = scaled.crop((left, top, left + 12, top + 12))
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    if draws.bernoulli(0.5)[0]:
        pixels = pixels.flip(2)
    views = web_views(14, 12, MEAN, STD, RandAugment(1, 9), "device")
    for step in views[name].after.views[1:]:  # type: ignore[union-attr]
        pixels = step(pixels[None], draws)[0] if step is not views["eval"].after else pixels  # type: ignore[union-attr]
    if pixels.dtype == torch.uint8:
        pixels = pixels / 255
    return torch.stack([(channel - m) / s for channel, m, s in zip(pixels, MEAN, STD, strict=True)])


def test_they_are_what_a_slow_loop_over_the_samples_makes(folder: Path) -> None:
    data = images(folder)
    batches: list[Any] = list(train_batches(data, NAMES))
    plan = ResolvedPlan(
        EpochPlan((Phase("train", {"train": Stream(views=NAMES)}),)),
        epoch=0,
        seed=0,
        train_rows=data.info.train_rows,
        batch_size=3,
    )
    far, seen = 0.0, 0
    for batch, rows in zip(batches, plan.batches(0, 0, 1), strict=True):
        named: Any = rows.streams["train"]
        for sample, (row, position) in enumerate(zip(named.index.tolist(), named.position, strict=True)):
            picture = open_image(data.image_paths[row])
            for place, name in enumerate(NAMES):
                cut = Draws(key_from(named.key, place, name, "cut"), position[None])
                expected = _slowly(picture, name, cut, Draws(key_from(named.key, place, name), position[None]))
                found = batch.views[place][sample]
                # torch rounds a few pixels to the next level; jitter stretches that, an operation of RandAugment even more
                levels = (found - expected).abs() * 255 * torch.tensor(STD).view(3, 1, 1)
                differ = (levels > (2.5 if name == "simclr" else 1.01)).float().mean()
                far, seen = far + float(differ), seen + 1
                assert name == "strong" or differ == 0, (row, name)
    assert seen == len(SIZES) * len(NAMES) and far / seen < 0.01


def test_the_evaluation_view_is_pillows_up_to_single_levels(folder: Path) -> None:
    data = images(folder)
    data.setup()
    (batch,) = data.evaluation_batches(torch.arange(len(SIZES)), torch.device("cpu"))
    view = PILEval(14, 12, MEAN, STD)
    expected = torch.stack([view(open_image(path), None) for path in data.image_paths])  # type: ignore[arg-type]
    difference = (batch.inputs - expected).abs() * 255 * torch.tensor(STD).view(-1, 1, 1)  # type: ignore[operator]
    assert difference.max() < 1.01 and (difference > 0.01).float().mean() < 0.05
    assert torch.equal(one_sample(data), batch.inputs[:1])  # type: ignore[index]


# ---- what they do not depend on


def test_batches_workers_and_where_an_epoch_begins_do_not_change_them(folder: Path) -> None:
    def samples(data: ImageFolder, start: int = 0) -> list[Tensor]:
        batches = list(train_batches(data, NAMES[:3], epoch=2, start=start))
        return [torch.cat([batch.views[place] for batch in batches]) for place in range(3)]

    alone, helped = samples(images(folder)), samples(images(folder, batch_size=2, num_workers=2), start=1)
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one[2:], other)
    assert not torch.equal(samples(images(folder, seed=1))[0], alone[0])


def test_a_run_that_is_resumed_in_mid_epoch_ends_as_one_without_a_break(folder: Path, tmp_path: Path) -> None:
    def fit(steps: int, resume: Path | None = None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        method = CrossEntropy(2, network=partial(SmallCNN, in_channels=3))
        kept = RunCheckpoint(tmp_path / f"run{steps}{resume is None}", every_n_steps=1)
        trainer = make_trainer(tmp_path, 2, (kept,), max_steps=steps)
        trainer.fit(method, images(folder, strong=AugMix(), test_images=str(folder)), ckpt_path=resume)
        return {name: value for name, value in method.state_dict().items() if isinstance(value, Tensor)}

    straight = fit(5)
    fit(4)  # an epoch has three batches
    resumed = fit(5, next((tmp_path / "run4True").glob("last.ckpt")))
    assert straight and all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_a_file_is_opened_once_for_all_its_views(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counted(path: str, *args: Any, **kwargs: Any) -> Any:
        opened.append(path)
        return open_reduced(path, *args, **kwargs)

    monkeypatch.setattr(cutrows, "open_reduced", counted)
    data = images(folder)
    list(train_batches(data, NAMES))
    assert sorted(opened) == sorted(data.image_paths)


# ---- the files


def test_a_jpeg_is_decoded_only_as_large_as_the_views_need(tmp_path: Path) -> None:
    path = str(tmp_path / "a.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (101, 203, 3), dtype=np.uint8)).save(path)
    for times, size in ((1.99, (203, 101)), (2.0, (102, 51)), (7.9, (51, 26)), (100, (26, 13)), (0.2, (203, 101))):
        image, full = open_reduced(path, lambda width, height, times=times: times if (width, height) == (203, 101) else 0)
        assert (image.size, full) == (size, (203, 101))


def _gradients(width: int, height: int) -> Image.Image:
    """Red grows to the right and green downwards, so that a turn shows."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, np.full_like(across, 60)], -1).astype(np.uint8))


def test_turns_other_colors_and_more_bits_are_shown_as_pillows_views_show_them(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    _gradients(160, 90).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    _gradients(160, 90).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    _gradients(40, 50).convert("L").save(tmp_path / "gray.jpg")
    clear = _gradients(40, 50)
    clear.putalpha(128)
    clear.save(tmp_path / "clear.png")
    Image.fromarray(np.linspace(0, 4095, 2000).astype(np.uint16).reshape(50, 40)).save(tmp_path / "deep.png")
    paths = sorted(tmp_path.iterdir())
    cut = web_views(16, 16, views="device")["eval"].cut  # type: ignore[union-attr]
    (squares,) = cutrows.cut_squares([*map(str, paths)], [*range(5)], [("eval", cut)], 0)
    view = PILEval(16, 16, (0.0,) * 3, (1 / 255,) * 3)
    for path, square in zip(paths, squares, strict=True):
        expected = view(open_image(str(path)), None).permute(1, 2, 0)  # type: ignore[arg-type]
        assert (square - expected).abs().mean() < 2, path
    shown = squares[[path.name for path in paths].index("turned.jpg")].float()
    assert shown[0, :, 1].diff().mean() < -5, "turned to the right: green grows to the left"


@pytest.mark.parametrize("views", ["pil", "device"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_breaks_during_an_epoch_ends_it_by_name(folder: Path, views: str, num_workers: int) -> None:
    data = images(folder, views, num_workers=num_workers)
    order = [row for batch in train_batches(images(folder, views)) for row in batch.index.tolist()]
    data.setup()
    broken = Path(data.image_paths[order[4]])
    broken.write_bytes(broken.read_bytes()[:60])
    seen = []
    with pytest.raises(ValueError, match=f"cannot read the image {broken}"):
        for batch in train_batches(data):
            seen += batch.index.tolist()
    assert seen == order[:3]
    data.teardown()


@pytest.mark.parametrize("views", ["pil", "device"])
def test_files_that_end_early_are_filled_up_on_request(tmp_path: Path, views: Any) -> None:
    for part in ("train", "val"):
        for name in "ab":
            write_image(tmp_path / part / name / "1.jpg", (60, 60), seed=ord(name))
    file = tmp_path / "train" / "a" / "1.jpg"
    file.write_bytes(file.read_bytes()[:-1500])
    (batch,) = train_batches(WebImages(str(tmp_path), resize=18, crop=16, views=views), ("weak", "weak"))
    assert len(batch) == 2 and all(view.isfinite().all() for view in batch.views)
    with pytest.raises(ValueError, match=f"cannot read the image {file}|{file.name} .*truncated"):
        list(train_batches(WebImages(str(tmp_path), resize=18, crop=16, views=views, allow_truncated=False)))


# ---- the device


def test_a_gpu_is_never_waited_for(folder: Path) -> None:
    data = images(folder, strong=None)
    data.setup()
    store: Any = data.source.train
    names, rows = NAMES[:3], torch.arange(4)
    (built,) = store.run([[ViewTask((0, 1, 2, 3), (0, 1, 2, 3), names, 5)]], "train")
    with pretended_gpu() as gpu:
        squares = [square.pin_memory().to(CUDA, non_blocking=True) for square in built[0]]
        for allowed in (True, False):  # settings are copied there once a process
            gpu.constants_allowed, gpu.copies = allowed, 0
            views = store.finish(squares, rows, names, 5)
        assert gpu.copies == 3  # positions, the plan of RandAugment, whom the jitter changes
        assert all(view.device == CUDA and view.shape == (4, 3, 12, 12) for view in views)


@pytest.mark.parametrize("kind", [WebImages, WebFG, Food101N, Clothing1M, WebVision])
def test_sets_of_large_pictures_have_them(kind: Any) -> None:
    views = kind("nowhere", resize=20, crop=16, views="device").view_set()
    assert set(views) == {"weak", "strong", "simclr", "eval"}
    assert all(isinstance(view, CutView) and view.cut.side == 16 for view in views.values())


def test_who_makes_them_is_one_of_two() -> None:
    with pytest.raises(ValueError, match=r"views must be 'pil' or 'device', got 'gpu'"):
        ImageFolder("nowhere", views="gpu")  # type: ignore[arg-type]
