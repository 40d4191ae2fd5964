"""Tests on the pictures themselves whether they still look like their class when mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from noisylab.data.pictures import open_image
from noisylab.data.source import Source
from noisylab.transforms.draws import key_from

__all__ = ["Mirrored", "decided", "mirroring", "small_files", "small_pictures", "some_rows"]

_MOST = 1000  # pictures that are looked at
_SIDE = 16  # pixels a side that they are brought to
_RIDGE = 1.0  # of the kernel, whose diagonal is 1
_Z = 4.0  # standard deviations beyond chance
_PAIR = 0.1  # share of the pictures of two classes by which they must be exchanged
_LOSS = 0.5  # share of what is known beyond guessing that mirroring may lose
_FEWEST = 40  # pictures below which nothing is decided
_THREADS = 8  # that decode
_USUAL = 0.5  # probability of mirroring


@dataclass(frozen=True)
class Mirrored:
    """The result of the test.

    Args:
        flip: probability of mirroring a picture from now on.
        text: why, for the user.
    """

    flip: float
    text: str


def some_rows(rows: Tensor) -> Tensor:
    """At most 1,000 of the rows that are trained on, always the same ones."""
    if len(rows) <= _MOST:
        return rows
    generator = torch.Generator().manual_seed(key_from(0, "mirrored") % 2**63)
    return rows[torch.randperm(len(rows), generator=generator)[:_MOST].sort().values]


def small_pictures(images: Tensor) -> Tensor:
    """(M, C, 16, 16) float of pictures (M, C, H, W) in memory."""
    return F.interpolate(images.float(), (_SIDE, _SIDE), mode="area")


def small_files(paths: Sequence[str], allow_truncated: bool, depth: Any) -> Tensor:
    """(M, 3, 16, 16) float of image files."""

    def read(path: str) -> Tensor:
        image = open_image(path, allow_truncated=allow_truncated, depth=depth)
        pixels = np.asarray(ImageOps.fit(image, (_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return torch.stack(list(pool.map(read, paths)))


def decided(asked: float | None, channels: int, small: Callable[[], Tensor], given: Tensor, source: Source) -> dict[str, float]:
    """The probability of mirroring pictures, as requested or as tested; the result of a test goes into the account of the data.

    Args:
        asked: by the user; `None` tests.
        channels: 1 of gray pictures, which are digits and letters more often than others, and are not mirrored.
        small: the pictures that are tested, see `small_pictures`.
        given: (M,) int64 their given labels.
        source: the data.
    """
    if asked is not None or channels == 1:
        return {"flip": asked or 0.0}
    found = mirroring(small(), given, source.class_names)
    source.account.append(found.text)
    return {"flip": found.flip}


def mirroring(small: Tensor, given: Tensor, names: Sequence[str]) -> Mirrored:
    """Whether pictures may be mirrored: a classifier that has not seen a picture classifies both it and its mirror image.

    Kernel ridge regression (Gaussian kernel of the median distance) on pictures of 16 x 16 pixels, each row left out of what
    answers for it. Were the mirror image of a picture as likely in its class as the picture, the two answers could be exchanged,
    whatever labels are wrong. So pictures of class i whose mirror image is taken for j, and pictures of class i which are taken
    for j while their mirror image is taken for i, would be equally many. Mirroring is off

    - where for some pair of classes the first outnumber the second by four standard deviations and by a tenth of their pictures;
    - where over all classes the answers for mirror images are right so much less often that half of what is known beyond
      guessing is lost, again by four standard deviations;
    - where nothing is known beyond guessing, so that this test could not tell.

    Args:
        small: (M, C, 16, 16) float.
        given: (M,) int64 given labels.
        names: K class names.
    """
    off = "mirroring is off: "
    if len(small) < _FEWEST:
        return Mirrored(0.0, f"{off}{len(small)} pictures are too few to test whether mirrored ones look like another class")
    number = len(names)
    plain, mirror = _answers(small, small.flip(3), F.one_hot(given, number).float())
    right, still = plain == given, mirror == given
    known, kept = float(right.double().mean()), float(still.double().mean())
    guess = float(torch.bincount(given, minlength=number).max()) / len(given)
    if (known - guess) * len(given) ** 0.5 < _Z * max(guess * (1 - guess), 1 / len(given)) ** 0.5:
        return Mirrored(
            0.0, f"{off}a test on {len(small):,} small pictures cannot tell the classes apart; set flip to 0.5 to mirror"
        )
    pair = _exchanged(plain, mirror, given, number)
    if pair is not None:
        first, second = (names[k] for k in pair)
        return Mirrored(0.0, f"{off}mirrored pictures of {first} look like {second}")
    lost, gained = int((right & ~still).sum()), int((still & ~right).sum())
    if lost - gained > _Z * (lost + gained) ** 0.5 and known - kept > _LOSS * (known - guess):
        return Mirrored(0.0, f"{off}mirrored pictures no longer look like their class")
    return Mirrored(_USUAL, "half of the pictures are mirrored at random: a test found that it does not change their class")


def _answers(small: Tensor, mirror: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) classes of the pictures and of their mirror images, by all other rows."""
    plain, mirror = (x.flatten(1).float() for x in (small, mirror))
    middle = plain.mean(0)
    plain, mirror = plain - middle, mirror - middle
    own = torch.cdist(plain, plain).square()
    width = own.median().clamp(min=1e-12)
    inverse = torch.linalg.inv(torch.exp(-own / width) + _RIDGE * torch.eye(len(plain)))
    weights = inverse @ (targets - targets.mean(0))
    share = weights / inverse.diagonal()[:, None]  # what leaving row i out changes, in units of column i of the inverse
    # alpha without row i is alpha - C[:, i] alpha_i / C_ii
    across = torch.exp(-torch.cdist(mirror, plain).square() / width)
    mirrored = across @ weights - (across * inverse.T).sum(1)[:, None] * share
    left_out = targets - targets.mean(0) - share
    return left_out.argmax(1), mirrored.argmax(1)


def _exchanged(plain: Tensor, mirror: Tensor, given: Tensor, number: int) -> tuple[int, int] | None:
    """The pair of classes that mirroring exchanges most surely; `None` where it exchanges none."""

    def count(rows: Tensor, other: Tensor) -> Tensor:
        return torch.bincount(given[rows] * number + other[rows], minlength=number**2).view(number, number)

    towards = count((plain == given) & (mirror != given), mirror)
    back = count((mirror == given) & (plain != given), plain)
    towards, back = towards + towards.T, back + back.T
    sizes = torch.bincount(given, minlength=number)
    excess = (towards - back).double()
    z = excess / (towards + back).clamp(min=1).double().sqrt()
    z[excess < _PAIR * (sizes[:, None] + sizes[None, :])] = 0
    best = int(z.argmax())
    return (best // number, best % number) if float(z.max()) >= _Z else None
