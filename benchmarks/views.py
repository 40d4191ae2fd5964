"""noisylab's views against the PIL pipeline in a DataLoader: images per second on one core.

Timed is an epoch of batches of 32 x 32 color images (uint8 in memory in, normalized float32 batches with labels out) and nothing
else: no network. The PIL rows are a torch Dataset with torchvision's RandomCrop, flip, ToTensor and Normalize and, for the strong
view, the reference's CIFAR10Policy, in a DataLoader without workers, so that each side has one core. noisylab's rows are
`NoisyDataModule.batches`, with its own chunk size. On CUDA noisylab's rows are made on the device, and images per second are no
longer those of a core.

How to read it: ``time ratio`` is against "PIL weak + strong"; a claim's figure is a speed-up, so many times as many images a
second. The weak view is compared both with PIL's weak view and with PIL's two views.

With ``--policies`` the strong views of RandAugment (2, 9) and AugMix are timed as well, against torchvision's classes of these
names on PIL images.

    python benchmarks/views.py [--short] [--rows 4096] [--batch 128] [--policies] [--out FILE]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from madeup import RandomImages, one_epoch
from timing import Claim, Report, clock, parse, parser_for
from torch.utils.data import DataLoader
from torchvision import transforms
from usual import POLICY, UsualImages

from noisylab.transforms import AugMix, RandAugment

WEAK_BOUND, BOTH_BOUND = 35.0, 6.0
PIL_WEAK, PIL_BOTH, OUR_WEAK, OUR_BOTH = "PIL weak", "PIL weak + strong", "noisylab weak", "noisylab weak + strong"
PIL_RAND, OUR_RAND = "PIL weak + RandAugment", "noisylab weak + RandAugment"
PIL_MIX, OUR_MIX = "PIL weak + AugMix", "noisylab weak + AugMix"
POLICY_CLAIMS = (
    Claim("weak + RandAugment: speed-up over PIL's", OUR_RAND, PIL_RAND, None, "at least"),
    Claim("weak + AugMix: speed-up over PIL's", OUR_MIX, PIL_MIX, None, "at least"),
)
CLAIMS = (
    Claim("weak view: speed-up over PIL's weak view", OUR_WEAK, PIL_WEAK, WEAK_BOUND, "at least"),
    Claim("weak view: speed-up over PIL's weak + strong", OUR_WEAK, PIL_BOTH, WEAK_BOUND, "at least"),
    Claim("weak + strong: speed-up over PIL's weak + strong", OUR_BOTH, PIL_BOTH, BOTH_BOUND, "at least"),
)


def time_pil(images: UsualImages, batch: int, rows: int) -> float:
    """Seconds an image of the first `rows` images of a shuffled epoch."""
    device = torch.device("cpu")
    loader: DataLoader[object] = DataLoader(images, batch_size=batch, shuffle=True)
    started = clock(device)
    for number, _ in enumerate(loader, 1):
        if number * batch >= rows:
            break
    return (clock(device) - started) / rows


def time_ours(data: RandomImages, device: torch.device, views: tuple[str, ...]) -> float:
    """Seconds an image of an epoch."""
    started = clock(device)
    for _ in one_epoch(data, device, views):
        pass
    return (clock(device) - started) / data.rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("views", __doc__, repeats=15)
    parser.add_argument("--rows", type=int, help="images a turn of noisylab (default: 8192, short: 2048)")
    parser.add_argument("--pil_rows", type=int, help="images a turn of PIL, which is slow (default: 1024, short: 512)")
    parser.add_argument("--batch", type=int, default=128, help="images a batch (default: %(default)s)")
    parser.add_argument("--policies", action="store_true", help="time RandAugment and AugMix as well")
    options = parse(parser, argv)
    rows = options.rows or (2048 if options.short else 8192)
    pil_rows = min(rows, options.pil_rows or (512 if options.short else 1024))
    if rows % options.batch or pil_rows % options.batch:
        parser.error(f"--rows {rows} and --pil_rows {pil_rows} must be multiples of --batch {options.batch}")
    report = Report(options, "making one image's views in batches with labels; no training")
    report.more |= {"batch": options.batch, "rows": rows, "pil_rows": pil_rows, "image": [3, 32, 32], "strong PIL view": POLICY}
    data = RandomImages(rows, batch_size=options.batch)
    data.setup("fit")
    pixels, given = RandomImages(rows).inputs(), data.given_target
    timed: dict[str, Callable[[], float]] = {
        PIL_WEAK: partial(time_pil, UsualImages(pixels, given, strong=False), options.batch, pil_rows),
        PIL_BOTH: partial(time_pil, UsualImages(pixels, given), options.batch, pil_rows),
        OUR_WEAK: partial(time_ours, data, options.device, ("weak",)),
        OUR_BOTH: partial(time_ours, data, options.device, ("weak", "strong")),
    }
    if options.policies:
        for theirs, ours, policy, view in (
            (PIL_RAND, OUR_RAND, transforms.RandAugment(2, 9), RandAugment(2, 9)),
            (PIL_MIX, OUR_MIX, transforms.AugMix(all_ops=False), AugMix()),
        ):
            other = RandomImages(rows, batch_size=options.batch, strong=view)
            other.setup("fit")
            timed[theirs] = partial(time_pil, UsualImages(pixels, given, policy=policy), options.batch, pil_rows)
            timed[ours] = partial(time_ours, other, options.device, ("weak", "strong"))
    print(f"batch {options.batch} of 3 x 32 x 32, {options.device}, {torch.get_num_threads()} threads, {options.repeats} repeats")
    for row in timed.values():
        row()
    report.measure(timed, PIL_BOTH, unit="image", claims=(*CLAIMS, *POLICY_CLAIMS) if options.policies else CLAIMS)
    report.write()


if __name__ == "__main__":
    main()
