"""The stand-in data of the threshold study for `Arrays`: few labels, many images; the rows are those of `study_split`.

CIFAR-10: 4,000 labeled rows, 16,000 unlabeled ones, 1,000 to validate with. Tiny ImageNet (100 classes, 32 x 32): 16,000, 29,000
and 5,000. The rows to validate with are the group that ``val_by: group`` holds out with the split seed 0, whatever the
val_fraction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from converting import Array, EncodedImages, arguments, read, write_arrays

from noisylab.data.semi import study_split
from noisylab.data.splits import group_holdout

_DATA = {"c10": ("cifar10_jpeg", (100, 400, 1600)), "tin100": ("tinyimagenet100_32", (50, 160, 290))}
"""The source, and of each class the rows to validate with, the labeled and the unlabeled ones."""


def shrunk(pixels: Array, side: int | None) -> Array:
    """Images (M, H, W, 3) of uint8 at `side` x `side` pixels, each the mean of a box; as they are without."""
    whole = pixels.shape[1]
    if side is None or side == whole:
        return pixels
    if side < 1 or whole % side:
        raise SystemExit(f"--side {side} does not divide the {whole} pixels of an image")
    boxes = pixels.reshape(len(pixels), side, whole // side, side, whole // side, 3)
    return np.rint(boxes.mean((2, 4))).astype(np.uint8)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "", rows=False)
    parser.add_argument("--data", choices=list(_DATA), default="c10", help="CIFAR-10 or Tiny ImageNet (default: c10)")
    parser.add_argument("--labeled", type=int, help="keep so many labeled rows of each class, the first ones (default: all)")
    parser.add_argument("--test-rows", type=int, help="keep the first test rows (default: all)")
    parser.add_argument("--split-seed", type=int, default=0, help="names the rows of each part (default: 0)")
    parser.add_argument(
        "--side", type=int, help="make the images so many pixels wide and high, means of boxes (default: as they are)"
    )
    parser.add_argument("--sizes", type=int, nargs=3, metavar="N", help="rows of each class in the three parts")
    options = parser.parse_args(argv)
    name, sizes = _DATA[options.data]
    arrays = read(options.source, f"{name}/{name}.npz")
    train, test = EncodedImages.of(arrays, "train"), EncodedImages.of(arrays, "test")
    truth = torch.from_numpy(train.labels.astype(np.int64))
    split = study_split(truth, *(options.sizes or sizes), seed=options.split_seed, keep=options.labeled)
    rows = torch.cat([split.validation, split.labeled, split.unlabeled]).sort().values
    held = torch.isin(rows, split.validation).long()
    drawn = int(group_holdout(torch.arange(2), torch.arange(2), 0.5, 0))  # which of two groups the split seed 0 holds out
    test_rows = np.arange(len(test.labels))[: options.test_rows]
    write_arrays(
        options.out,
        x=shrunk(train.pixels(rows.numpy()), options.side),
        y=torch.where(torch.isin(rows, split.unlabeled), -1, truth[rows]).numpy(),
        y_true=truth[rows].numpy(),
        group=torch.where(held > 0, drawn, 1 - drawn).numpy(),
        class_names=arrays["class_names"],
        test_x=shrunk(test.pixels(test_rows), options.side),
        test_y=test.labels[test_rows].astype(np.int64),
    )


if __name__ == "__main__":
    main()
