"""Views of the same pictures by Pillow, by noisylab's batches and by kornia: how much they differ, and whether training notices.

Made-up photographs (those of `loaders.py`) undergo the same operations with the same magnitudes in Pillow, in
`noisylab.transforms.ops` and in kornia; then the three libraries' RandAugment of two operations. A JPEG that is decoded at half
of its size before it is scaled is compared with one that is decoded whole. Timed is color jitter alone, ours against kornia's.

With ``--accuracy FILE`` a small network is trained on the strong view alone, three times for each form and seed by seed on the
same rows: of `cifar10_jpeg.npz` (arrays ``train_bytes``, ``train_offsets``, ``train_labels`` and the same of ``test``), written
into a folder as files.

How to read it: levels are of 255; "differing" is the share of values that are not equal after rounding. Means and deviations are
of the pictures' mean levels. An accuracy's spread is over seeds.

    python benchmarks/view_differences.py [--short] [--pictures 200] [--accuracy FILE] [--out FILE]
"""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loaders import photograph
from madeup import one_epoch
from PIL import Image, ImageEnhance, ImageOps
from timing import Report, clock, parse, parser_for
from torch import Tensor
from torch.nn import functional as F

from noisylab.data import ImageFolder
from noisylab.data.pictures import open_image, open_reduced
from noisylab.models import SmallCNN
from noisylab.transforms import ColorJitter, Draws, KorniaView, PILRandAugment, RandAugment, StrongView, ops
from noisylab.transforms.cuts import SquareCut, cut_out
from noisylab.transforms.views import PACKAGE_RAND_AUGMENT

SIDE = 96
Operation = tuple[Callable[[Image.Image], Image.Image], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def operations() -> dict[str, Operation]:
    """Each by Pillow, by us and by kornia, which takes and returns floats in [0, 1]."""
    import kornia.enhance as enhance
    from kornia.geometry.transform import rotate

    def many(value: float) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.full((len(x),), value)

    def ours(operation: Callable[..., Tensor], value: float) -> Callable[[Tensor], Tensor]:
        return lambda x: operation(x, many(value)(x))

    return {
        "autocontrast": (
            ImageOps.autocontrast,
            ops.autocontrast,
            lambda x: (x - x.amin((2, 3), True)) / (x.amax((2, 3), True) - x.amin((2, 3), True)),
        ),
        "brightness 1.4": (
            lambda image: ImageEnhance.Brightness(image).enhance(1.4),
            ours(ops.brightness, 1.4),
            lambda x: enhance.adjust_brightness_accumulative(x, 1.4),
        ),
        "color 1.4": (
            lambda image: ImageEnhance.Color(image).enhance(1.4),
            ours(ops.color, 1.4),
            lambda x: enhance.adjust_saturation(x, 1.4),
        ),
        "contrast 1.4": (
            lambda image: ImageEnhance.Contrast(image).enhance(1.4),
            ours(ops.contrast, 1.4),
            lambda x: enhance.adjust_contrast_with_mean_subtraction(x, 1.4),
        ),
        "equalize": (ImageOps.equalize, ops.equalize, enhance.equalize),
        "posterize 4": (lambda image: ImageOps.posterize(image, 4), ours(ops.posterize, 4), lambda x: enhance.posterize(x, 4)),
        "rotate 20": (
            lambda image: image.rotate(20),
            lambda x: ops.rotate(x, many(20.0)(x), fill=0),
            lambda x: rotate(x, many(20.0)(x), mode="nearest"),
        ),
        "sharpness 1.8": (
            lambda image: ImageEnhance.Sharpness(image).enhance(1.8),
            ours(ops.sharpness, 1.8),
            lambda x: enhance.sharpness(x, 1.8),
        ),
        "solarize 128": (
            lambda image: ImageOps.solarize(image, 128),
            ours(ops.solarize, 128.0),
            lambda x: enhance.solarize(x, 128 / 255),
        ),
    }


def bytes_of(x: Tensor) -> Tensor:
    """Whole levels."""
    return x if x.dtype == torch.uint8 else x.mul(255).round().clamp(0, 255).to(torch.uint8)


def difference(one: Tensor, other: Tensor) -> dict[str, float]:
    """Share of values that differ, and by how many levels on average over all."""
    apart = (one.int() - other.int()).abs()
    return {"differing": float((apart > 0).float().mean()), "levels": float(apart.float().mean()), "most": int(apart.max())}


def compare_operations(pictures: list[Image.Image], x: Tensor) -> dict[str, Any]:
    """Ours and kornia's results against Pillow's, operation by operation."""
    found = {}
    for name, (pil, ours, theirs) in operations().items():
        expected = torch.stack([torch.from_numpy(np.array(pil(picture))).permute(2, 0, 1) for picture in pictures])
        mine, other = difference(ours(x), expected), difference(bytes_of(theirs(x.float() / 255)), expected)
        found[name] = {"ours": mine, "kornia": other}
        print(f"{name:15}  ours {mine['differing']:7.2%}, {mine['levels']:.3f} levels;", end="  ")
        print(f"kornia {other['differing']:7.2%}, {other['levels']:.3f} levels, at most {other['most']}")
    return found


def compare_policies(pictures: list[Image.Image], x: Tensor) -> dict[str, Any]:
    """Mean levels of the pictures after each library's RandAugment of two operations."""
    draws = Draws(0, torch.arange(len(x)))
    by_pil = [PILRandAugment()(picture, random.Random(place)) for place, picture in enumerate(pictures)]
    views = {
        "as they are": x,
        "Pillow, package randaugment": torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in by_pil]),
        "ours, the same": bytes_of(PACKAGE_RAND_AUGMENT(x, draws)),
        "ours, torchvision's (2, 9)": bytes_of(RandAugment(2, 9)(x, draws)),
        "kornia, (2, 9)": bytes_of(KorniaView("RandAugment", {"n": 2, "m": 9})(x, draws)),
    }
    found = {}
    for name, view in views.items():
        means = view.float().mean((1, 2, 3))
        changed = (view != x).float().mean((1, 2, 3))
        found[name] = {"mean": float(means.mean()), "deviation": float(means.std()), "changed": float(changed.mean())}
        told = found[name]
        print(
            f"{name:28}  mean {told['mean']:6.1f}, deviation {told['deviation']:5.1f}, {told['changed']:6.1%} of values changed"
        )
    return found


def compare_decoding(folder: Path, pictures: int) -> dict[str, Any]:
    """Squares of the middle by the two-step views against those of Pillow's."""
    found = {}
    for width, height, resize in ((500, 375, 256), (1024, 768, 256), (1024, 768, 512)):
        squares, exact = [], []
        cut = SquareCut(resize, round(resize * 7 / 8), middle=True)
        for number in range(pictures):
            path = str(folder / "one.jpg")
            photograph(width, height, number).save(path, quality=90)
            window = cut.window(width, height, ())
            image, full = open_reduced(path, lambda width, height: min(width, height) / resize)  # noqa: B023
            squares += [torch.from_numpy(cut_out(image, full, [window], [cut.side])[0].copy())]
            left, top = window.corner
            scaled = open_image(path).resize(window.size, Image.Resampling.BILINEAR)
            exact += [torch.from_numpy(np.array(scaled.crop((left, top, left + cut.side, top + cut.side))))]
        name = f"{width} x {height} to {resize}, decoded at {image.width} x {image.height}"
        found[name] = difference(torch.stack(squares), torch.stack(exact))
        print(
            f"{name}: {found[name]['differing']:.2%} differing, {found[name]['levels']:.3f} levels, at most {found[name]['most']}"
        )
    return found


def jitter(view: Callable[[Tensor], Tensor], x: Tensor, device: torch.device) -> float:
    """Seconds an image."""
    started = clock(device)
    view(x)
    return (clock(device) - started) / len(x)


def write_files(archive: str, folder: Path, train: int, test: int) -> None:
    """Rows of the archive as files in class folders."""
    with np.load(archive) as stored:
        for part, rows in (("train", train), ("test", test)):
            content, offsets, labels = (stored[f"{part}_{name}"] for name in ("bytes", "offsets", "labels"))
            for row in range(rows):
                file = folder / part / f"class{labels[row]}" / f"{row:05}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content[offsets[row] : offsets[row + 1]].tobytes())


def accuracy(folder: Path, strong: StrongView | None, views: Any, epochs: int, seed: int) -> float:
    """On the test files, after training on the strong view alone."""
    torch.manual_seed(seed)
    size = {"load": "files", "size": 32, "resize": 36, "flip": 0.5, "batch_size": 50}
    data = ImageFolder(str(folder), views=views, strong=strong, seed=seed, **size)  # type: ignore[arg-type]
    device = torch.device("cpu")
    network = SmallCNN(10, in_channels=3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        network.train()
        for batch in one_epoch(data, device, ("strong",), epoch):
            samples: Any = batch["train"]
            optimizer.zero_grad()
            F.cross_entropy(network(samples.views[0]), samples.target).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = [network(batch.inputs).argmax(1) == batch.target for batch in data.test_dataloader()["test"]]
    return float(torch.cat(right).float().mean())


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("view_differences", __doc__, repeats=7)
    parser.add_argument("--pictures", type=int, help="pictures (default: 200, short: 8)")
    parser.add_argument("--accuracy", help="archive of JPEG files to train on")
    parser.add_argument("--train", type=int, default=2000, help="files to train on (default: %(default)s)")
    parser.add_argument("--test", type=int, default=1000, help="files to test on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    options = parse(parser, argv)
    many = options.pictures or (8 if options.short else 200)
    report = Report(options, "color jitter of one image in a batch of 32; no training")
    pictures = [photograph(SIDE, SIDE, number) for number in range(many)]
    x = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    report.more["operations"] = compare_operations(pictures, x)
    report.more["policies"] = compare_policies(pictures, x)
    with tempfile.TemporaryDirectory() as folder:
        report.more["decoding"] = compare_decoding(Path(folder), max(2, many // 10))
    import kornia.augmentation as known

    large = torch.stack([torch.from_numpy(np.array(photograph(224, 224, n))).permute(2, 0, 1) for n in range(32)]).float() / 255
    theirs, mine = known.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), ColorJitter()
    draws = Draws(0, torch.arange(32))
    timed: dict[str, Callable[[], float]] = {
        "ours": partial(jitter, lambda x: mine(x, draws), large, options.device),
        "kornia, the whole batch": partial(jitter, theirs, large, options.device),
        "kornia, sample by sample": partial(
            jitter, lambda x: KorniaView(theirs)((x * 255).to(torch.uint8), draws), large, options.device
        ),
    }
    report.measure(timed, "ours", group="color jitter, 224 x 224", unit="image")
    if options.accuracy:
        forms: dict[str, tuple[StrongView | None, str]] = {
            "Pillow in workers": (None, "pil"),
            "on the device, ours": (None, "device"),
            "on the device, kornia": (KorniaView("RandAugment", {"n": 2, "m": 9}), "device"),
        }
        with tempfile.TemporaryDirectory() as folder:
            write_files(options.accuracy, Path(folder), options.train, options.test)
            found: dict[str, list[float]] = {name: [] for name in forms}
            for seed in range(options.seeds):
                for name, (strong, views) in forms.items():
                    found[name].append(accuracy(Path(folder), strong, views, options.epochs, seed))
                    print(f"seed {seed}, {name}: {found[name][-1]:.3f}", flush=True)
        report.more["accuracy"] = found
        for name, values in found.items():
            print(f"{name:24}  {statistics.mean(values):.3f}, deviation {statistics.pstdev(values):.3f}")
    report.write()


if __name__ == "__main__":
    main()
