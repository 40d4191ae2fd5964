"""Larger images from a folder of files: images per second by number of loader workers.

A temporary folder is filled with made-up JPEG files (500 x 375, smooth, so that they are about as large as photographs). Timed
is an epoch of `NoisyDataModule.batches` of an `ImageFolder`: opening and decoding the files, the views of `web_views`, batches
with labels; no network. Workers stay alive from epoch to epoch, as in training; starting them is not timed, nor is the check of
all files in ``setup``. The files are in the cache of the operating system after the first epoch, so a disk is not measured.

How to read it: ``time ratio`` is against no workers, where the main process does the work; a claim's figure is the speed-up.
More workers than cores can gain nothing here, since the main process only waits; in training it drives the device beside them.

    python benchmarks/loaders.py [--short] [--workers 0 1 2 4] [--images 256] [--views weak strong] [--out FILE]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from madeup import one_epoch
from PIL import Image
from timing import Claim, Report, clock, cores, parse, parser_for

from noisylab.data import ImageFolder

WORKERS, SHORT_WORKERS = (0, 1, 2, 4, 6, 8, 12, 16), (0, 1, 2)
CLASSES = 4


def fill(folder: Path, images: int, width: int, height: int) -> int:
    """Write made-up JPEG files in class folders.

    Returns:
        Bytes of all files.
    """
    generator = torch.Generator().manual_seed(0)
    total = 0
    for number in range(images):
        coarse = torch.randint(0, 256, (max(2, height // 25), max(2, width // 25), 3), generator=generator, dtype=torch.uint8)
        file = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(coarse.numpy()).resize((width, height), Image.Resampling.BICUBIC).save(file, quality=90)
        total += file.stat().st_size
    return total


def time_epoch(data: ImageFolder, device: torch.device, views: tuple[str, ...], images: int) -> float:
    """Seconds an image of an epoch."""
    started = clock(device)
    for _ in one_epoch(data, device, views):
        pass
    return (clock(device) - started) / images


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("loaders", __doc__, repeats=9)
    parser.add_argument("--workers", type=int, nargs="+", help=f"numbers of workers (default: {WORKERS}, short: {SHORT_WORKERS})")
    parser.add_argument("--images", type=int, help="files (default: 256, short: 64)")
    parser.add_argument("--width", type=int, default=500, help="pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=375, help="pixels (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the views, pixels (default: %(default)s)")
    parser.add_argument("--views", nargs="+", default=["weak"], choices=("weak", "strong"), help="(default: weak)")
    parser.add_argument("--batch", type=int, default=32, help="images a batch (default: %(default)s)")
    options = parse(parser, argv)
    workers = sorted(set(options.workers or (SHORT_WORKERS if options.short else WORKERS)))
    images = options.images or (64 if options.short else 256)
    if images < 2 * CLASSES:
        parser.error(f"--images must be at least {2 * CLASSES}, got {images}")
    report = Report(options, "opening one image file and making its views in a batch; no training")
    with tempfile.TemporaryDirectory() as folder:
        size = fill(Path(folder), images, options.width, options.height)
        report.more |= {name: getattr(options, name) for name in ("width", "height", "size", "views", "batch")}
        report.more |= {"images": images, "kilobytes_an_image": size / images / 1000}
        print(f"{images} JPEG files of {options.width} x {options.height}, {size / images / 1000:.0f} kB each; ", end="")
        print(f"views {' + '.join(options.views)} of {options.size}; {cores()} cores, {options.repeats} repeats")
        modules = [
            ImageFolder(folder, load="files", size=options.size, batch_size=options.batch, num_workers=number)
            for number in workers
        ]
        views = tuple(options.views)
        timed = {
            f"{number} workers": partial(time_epoch, data, options.device, views, images)
            for number, data in zip(workers, modules, strict=True)
        }
        for row in timed.values():  # workers start, files come into the cache
            row()
        names = list(timed)
        claims = [
            Claim(f"{name}: speed-up over {names[0]}, {cores()} cores", name, names[0], None, "at least") for name in names[1:]
        ]
        report.measure(timed, names[0], unit="image", claims=claims)
        for number, entry in zip(workers, report.rows, strict=True):
            entry |= {"workers": number, "images_per_s": 1000 / entry["ms"]}
    report.write()


if __name__ == "__main__":
    main()
