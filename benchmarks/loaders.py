"""Folders of larger images: images per second, against torchvision's `ImageFolder` with its usual transforms.

A temporary folder is filled with made-up JPEG files of quality 90, whose content is like that of photographs: large shapes, some
texture, grain. Timed is an epoch of batches on the host with labels, of a weak and a strong view, without a network; files are in
the cache of the operating system, so a disk is not measured. The rows, each with the same number of worker processes:

- "torchvision": `torchvision.datasets.ImageFolder` in a DataLoader. Weak: Resize, RandomCrop, flip, ToTensor, Normalize; strong:
  RandAugment(2, 9) before ToTensor. A file is decoded once for both.
- "pil": noisylab's `ImageFolder` with ``views: pil``, whose strong view is the RandAugment of the package `randaugment`.
- "device": with ``views: device`` and RandAugment(2, 9). The workers decode, resize and cut; without a GPU the main process does
  the rest on the same cores.
- "workers": what the workers do of that alone, the rate at which a device could be fed.
- "decode": workers that decode every file and return nothing: the floor of all that decode at full size.

Workers stay alive from epoch to epoch, as in training; starting them is not timed, nor is the check of all files in ``setup``.

How to read it: ``time ratio`` is against torchvision with the same workers; a claim's figure is a speed-up. "CPU time" is that of
all processes together, and moves less with the load of the machine. More processes than cores gain nothing.

    python benchmarks/loaders.py [--short] [--workers 1 2] [--pictures 500x375 1024x768] [--sizes 224 448] [--images 128]
        [--views weak strong] [--out FILE]
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from madeup import one_epoch
from PIL import Image
from timing import Claim, Report, clock, cores, parse, parser_for
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from noisylab.data import ImageFolder
from noisylab.data.rows import FileRows, ViewTask
from noisylab.transforms import IMAGENET_MEAN, IMAGENET_STD, RandAugment

CLASSES = 4
THEIRS, PIL_ROW, DEVICE, WORKERS, DECODE = "torchvision", "pil", "device", "workers", "decode"
BOUND = 2.0


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Large shapes, some texture and grain."""
    generator = np.random.default_rng(seed)

    def noise(cell: int) -> np.ndarray[Any, Any]:
        shape = (max(2, height // cell), max(2, width // cell), 3)
        coarse = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)

    pixels = 0.75 * noise(60) + 0.2 * noise(6) + generator.normal(6, 6, (height, width, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def fill(folder: Path, images: int, width: int, height: int) -> int:
    """Write made-up JPEG files in class folders.

    Returns:
        Bytes of all files.
    """
    total = 0
    for number in range(images):
        file = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photograph(width, height, number).save(file, quality=90)
        total += file.stat().st_size
    return total


class BothViews:
    """The usual transforms, one after the other on one picture."""

    def __init__(self, resize: int, size: int, views: Sequence[str]) -> None:
        def usual(*policy: Any) -> transforms.Compose:
            before = [transforms.Resize(resize), transforms.RandomCrop(size), transforms.RandomHorizontalFlip()]
            return transforms.Compose(
                [*before, *policy, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
            )

        named = {"weak": usual(), "strong": usual(transforms.RandAugment(2, 9))}
        self.views = [named[name] for name in views]

    def __call__(self, image: Image.Image) -> list[torch.Tensor]:
        """The views of one picture."""
        return [view(image) for view in self.views]


class Decoded(Dataset[int]):
    """Files that are decoded, and nothing else."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> int:
        with Image.open(self.paths[row]) as image:
            image.load()
        return row


def workers_alone(data: ImageFolder, views: tuple[str, ...]) -> Iterator[Any]:
    """What the workers give, in an order of its own."""
    store = data.source.train
    assert isinstance(store, FileRows)
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(0)).split(data.batch_size)
    tasks = [[ViewTask(tuple(part.tolist()), tuple(part.tolist()), views, 0)] for part in rows]
    return store.run(tasks, "alone")


def cpu_seconds() -> float:
    """CPU time so far of this process and of its children that are alive."""
    ticks, mine = 0.0, str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if fields[1] == mine:
            ticks += float(fields[11]) + float(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def time_epoch(make: Callable[[], Iterator[Any]], device: torch.device, images: int, cpu: list[float]) -> float:
    """Seconds an image of an epoch; the CPU time of one is appended to `cpu`."""
    before, started = cpu_seconds(), clock(device)
    for _ in make():
        pass
    seconds = (clock(device) - started) / images
    cpu.append((cpu_seconds() - before) / images)
    return seconds


def epochs(folder: Path, size: int, workers: int, options: Any) -> dict[str, Callable[[], Iterator[Any]]]:
    """An epoch of each row."""
    views, resize, batch = tuple(options.views), round(size * 8 / 7), options.batch
    common: dict[str, Any] = {"load": "files", "size": size, "flip": 0.5, "batch_size": batch, "num_workers": workers}
    pil = ImageFolder(str(folder), **common)
    device = ImageFolder(str(folder), views="device", strong=RandAugment(2, 9), **common)
    device.setup("fit")
    theirs = datasets.ImageFolder(str(folder), BothViews(resize, size, views))
    alive: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    usual: DataLoader[Any] = DataLoader(theirs, batch_size=batch, shuffle=True, **alive)
    decoded: DataLoader[Any] = DataLoader(Decoded([path for path, _ in theirs.samples]), batch_size=batch, **alive)
    return {
        THEIRS: lambda: iter(usual),
        PIL_ROW: partial(one_epoch, pil, options.device, views),
        DEVICE: partial(one_epoch, device, options.device, views),
        WORKERS: partial(workers_alone, device, views),
        DECODE: lambda: iter(decoded),
    }


def compare(report: Report, folder: Path, name: str, size: int, workers: int, images: int) -> None:
    """Measure one group: wall-clock time and CPU time."""
    options = report.options
    made = epochs(folder, size, workers, options)
    cpu: dict[str, list[float]] = {row: [] for row in made}
    timed = {row: partial(time_epoch, make, options.device, images, cpu[row]) for row, make in made.items()}
    for row in timed.values():  # workers start, files come into the cache
        row()
    for spent in cpu.values():
        spent.clear()
    group = f"{name} to {size}, {workers} worker{'s' * (workers != 1)}"
    claims = [
        Claim(f"{group}: {row}, speed-up over torchvision", row, THEIRS, BOUND if row in (DEVICE, WORKERS) else None, "at least")
        for row in (PIL_ROW, DEVICE, WORKERS, DECODE)
    ]
    first = len(report.rows)
    report.measure(timed, THEIRS, group=group, unit="image", claims=claims)
    # odd repeats went through the rows backwards, but each list is in the order of the repeats
    saved = [Claim(f"{group}: {row}, CPU time", row, THEIRS, None, "at most") for row in (PIL_ROW, DEVICE, WORKERS)]
    report.add(cpu, THEIRS, group=f"{group}, CPU time", unit="image", claims=saved)
    for entry in report.rows[first:]:
        entry |= {"picture": name, "size": size, "workers": workers, "images_per_s": 1000 / entry["ms"]}


def _sides(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("loaders", __doc__, repeats=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--images", type=int, help="files (default: 128, short: 32)")
    parser.add_argument("--pictures", type=_sides, nargs="+", default=[(500, 375), (1024, 768)], help="WIDTHxHEIGHT of the files")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 448], help="sides of the views, pixels (default: 224 448)")
    parser.add_argument("--views", nargs="+", default=["weak", "strong"], choices=("weak", "strong"), help="(default: both)")
    parser.add_argument("--batch", type=int, default=32, help="images a batch (default: %(default)s)")
    options = parse(parser, argv)
    images = options.images or (32 if options.short else 128)
    if images < 2 * CLASSES:
        parser.error(f"--images must be at least {2 * CLASSES}, got {images}")
    report = Report(options, "opening one image file and making its views in a batch; no training")
    report.more |= {"views": options.views, "batch": options.batch, "images": images, "kilobytes": {}}
    for width, height in options.pictures:
        name = f"{width} x {height}"
        with tempfile.TemporaryDirectory() as folder:
            size = fill(Path(folder), images, width, height) / images / 1000
            report.more["kilobytes"][name] = size
            print(f"{images} JPEG files of {name}, {size:.0f} kB each; {' + '.join(options.views)}; {cores()} cores")
            for side in options.sizes:
                for workers in options.workers:
                    compare(report, Path(folder), name, side, workers, images)
    report.write()


if __name__ == "__main__":
    main()
