"""Food-101N, from the lists of its release, tested on Food-101."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from noisylab.arguments import AtLeastOne, check_arguments
from noisylab.data.named.listed import ListedImages, ReleaseParts
from noisylab.data.named.lists import ListedFiles, keep_present, path_fault, read_lines
from noisylab.data.release import ReleaseReport
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import ViewsBy, checked_strong, web_views

__all__ = ["Food101N"]

_CLASSES, _IMAGES, _TESTED = 101, 310_009, 25_250
_VERIFIED = {"verified_train": 52_868, "verified_val": 4_741}
_STRAY = 1  # verified images that the release does not list under the class they were verified for
_FOLDER = "Food-101N_release"
_SHOWN = 10


class Food101N(ListedImages):
    """Food-101N: 310,009 photographs of 101 dishes from the web, with labels of which some were verified (Lee et al., CVPR 2018),
    and the test images of Food-101 (Bossard et al., ECCV 2014).

    `root`, or the folder ``Food-101N_release`` in it, holds ``meta/classes.txt``, ``meta/imagelist.tsv``,
    ``meta/verified_train.tsv`` and ``meta/verified_val.tsv``, each with a header, and ``images/<class>/<file>``. Rows are in the
    order of ``imagelist.tsv``. Food-101 has ``meta/classes.txt`` without a header, ``meta/test.txt`` and
    ``images/<class>/<number>.jpg``. Both must name the same classes, which are numbered in the order of their sorted names.

    Where an image was verified and its label found right, that is its true label. Where it was found wrong, the true label stays
    unknown, but such rows count as wrong in measured rates and in what is reported about selections. The lists are joined by
    class and file: one image was verified under another class than it is listed in, and has no verification here.

    Args:
        root: folder of Food-101N.
        food101: folder of Food-101; `None` for ``food-101`` beside `root` or in it.
        val: "verified" holds out the images of ``verified_val.tsv`` that were found right, which no longer are training rows;
            "none" for held-out rows by `val_fraction`.
        drop_verified_val: leave all other images of ``verified_val.tsv`` out of the training rows, too; `None` to do so where
            ``val="verified"``.
        resize: length of the shorter side, in pixels.
        crop: side of the square that a network sees, in pixels.
        strong: what the view "strong" does after crop and flip; `None` for RandAugment of the package `randaugment`.
        views: "pil" for views that worker processes make alone, "device" for those of which the training device makes the larger
            part, see `web_views`.
        **kwargs: see `ListedImages`; set `num_workers`.

    Raises:
        FileNotFoundError: in ``setup``, naming the lists and pictures that are missing.
        ValueError: in ``setup``, naming lines of a list that cannot be used, or numbers that are not those of the release.
    """

    path_arguments: ClassVar[tuple[str, ...]] = ("root", "food101")

    def __init__(
        self,
        root: str,
        food101: str | None = None,
        val: Literal["none", "verified"] = "none",
        drop_verified_val: bool | None = None,
        resize: AtLeastOne = 256,
        crop: AtLeastOne = 224,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        check_arguments(Food101N, {"resize": resize, "crop": crop})
        if val not in ("none", "verified"):
            raise ValueError(f"val must be 'none' or 'verified', got {val!r}")
        self.food101, self.val = None if food101 is None else Path(food101), val
        self._transforms = web_views(resize, crop, strong=checked_strong(strong), views=views)
        self.drop = val == "verified" if drop_verified_val is None else drop_verified_val

    @property
    def source_classes(self) -> int:
        """Counted in ``meta/classes.txt``."""
        report = ReleaseReport(type(self).__name__, self._folder_of(self.root))
        names = _class_names(report, "class_name")
        report.refuse()
        assert names is not None
        return len(names)

    @property
    def held_out(self) -> str:
        """The verified validation list, or the share that `val_fraction` says."""
        return "the verified validation list" if self.val == "verified" else super().held_out

    def read(self, report: ReleaseReport) -> ReleaseParts | None:
        """Join the list of images with the verifications, and read the test list of Food-101."""
        report.root = self._folder_of(report.root)
        names = _class_names(report, "class_name")
        keys = _keys(report, "meta/imagelist.tsv", "images and their classes", names)
        verified = {part: _verified(report, f"meta/{part}.tsv") for part in _VERIFIED}
        test = self._tested(report, names)
        if names is None or keys is None or None in verified.values():
            return None
        self.counted(report, "classes", len(names), _CLASSES)
        self.counted(report, "images in imagelist.tsv", len(keys), _IMAGES)
        place = {name: row for row, (name, _) in enumerate(keys)}
        right = torch.full((len(keys),), -1, dtype=torch.int64)  # 1 right, 0 wrong, -1 not verified
        of_val = torch.zeros(len(keys), dtype=torch.bool)
        for part, answers in verified.items():
            assert answers is not None
            self.counted(report, f"images in {part}.tsv", len(answers), _VERIFIED[part])
            stray = [name for name in answers if name not in place]
            if stray:
                text = (
                    f"{len(stray):,} of {len(answers):,} images of meta/{part}.tsv are not in meta/imagelist.tsv under that class"
                )
                good = len(stray) <= _STRAY or not self.verify
                (report.notes if good else report.faults).append(f"{text} ({stray[0]}); their verification is not used")
            rows = torch.tensor([place[name] for name in answers if name in place], dtype=torch.int64)
            right[rows] = torch.tensor([answers[name] for name in answers if name in place], dtype=torch.int64)
            of_val[rows] = part == "verified_val"
        labels = torch.tensor([names.index(name) for name in (key.partition("/")[0] for key, _ in keys)], dtype=torch.int64)
        known, wrong = int((right >= 0).sum()), int((right == 0).sum())
        share = f" ({wrong / known:.1%})" if known else ""
        report.notes.append(f"{known:,} labels are verified, {wrong:,} of them wrong{share}")
        files = ListedFiles(
            str(report.root / "meta/imagelist.tsv"),
            report.root,
            [f"images/{name}" for name, _ in keys],
            labels,
            [number for _, number in keys],
            torch.where(right == 1, labels, -1),
        )
        kept = ~of_val if self.drop else ~(of_val & (right == 1) & (self.val == "verified"))
        train = self._present(report, files, kept, right)
        held = None
        if self.val == "verified":
            held = keep_present(
                report, files.take((of_val & (right == 1)).nonzero().flatten().tolist()), "images", self.allow_missing
            )
        return ReleaseParts(tuple(names), train[0], test, held, wrong=train[1])

    def _present(
        self, report: ReleaseReport, files: ListedFiles, kept: torch.Tensor, right: torch.Tensor
    ) -> tuple[ListedFiles, torch.Tensor]:
        """The training rows that are there, and which of them are known to be wrong."""
        chosen = files.take(kept.nonzero().flatten().tolist())
        there = keep_present(report, chosen, "training images", self.allow_missing)
        wrong = {name for name, answer in zip(files.names, right.tolist(), strict=True) if answer == 0}
        return there, torch.tensor([name in wrong for name in there.names], dtype=torch.bool)

    def _folder_of(self, root: Path) -> Path:
        return root / _FOLDER if (root / _FOLDER).is_dir() and not (root / "meta").is_dir() else root

    def _tested(self, report: ReleaseReport, names: list[str] | None) -> ListedFiles | None:
        """The test images of Food-101."""
        places = [self.root / "food-101", self.root.parent / "food-101"] if self.food101 is None else [self.food101]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            report.missing.append(f"{' or '.join(map(str, places))}: Food-101, whose test images are the test set (food101)")
            return None
        own = ReleaseReport(report.name, folder)
        theirs, lines = _class_names(own, ""), read_lines(own, "meta/test.txt", "test images of Food-101")
        report.missing += [f"{folder / line}" for line in own.missing]
        report.faults += own.faults
        report.digests += [(str(folder / file), digest, None) for file, digest, _ in own.digests]
        if names is None or theirs is None or lines is None:
            return None
        if theirs != names:
            odd = sorted(set(theirs) ^ set(names))
            report.faults.append(
                f"{folder / 'meta/classes.txt'} has other classes than Food-101N ({', '.join(odd[:5])}); the two must be the same"
            )
            return None
        faults = [
            f"{folder / 'meta/test.txt'}, line {n}: {key!r} {_key_fault(key, names)}"
            for n, key in lines
            if _key_fault(key, names)
        ]
        report.faults += faults[:_SHOWN]
        good = [(number, key) for number, key in lines if not _key_fault(key, names)]
        self.counted(report, "test images of Food-101", len(lines), _TESTED)
        labels = torch.tensor([names.index(key.partition("/")[0]) for _, key in good], dtype=torch.int64)
        files = [f"images/{key}.jpg" for _, key in good]
        found = ListedFiles(str(folder / "meta/test.txt"), folder, files, labels, [number for number, _ in good])
        return keep_present(report, found, "test images of Food-101", self.allow_missing)


def _class_names(report: ReleaseReport, header: str) -> list[str] | None:
    """The sorted names of the classes."""
    lines = read_lines(report, "meta/classes.txt", "names of the classes", header)
    if lines is None:
        return None
    names = [name for _, name in lines]
    if len(set(names)) < len(names):
        report.faults.append("meta/classes.txt names a class twice; fetch it again")
    return sorted(set(names))


def _key_fault(key: str, names: list[str]) -> str:
    """Why a text is not ``class/file``; empty if it is."""
    if path_fault(key):
        return path_fault(key)
    folder, _, file = key.partition("/")
    if not file or "/" in file:
        return "is not class/file"
    return "" if folder in names else f"is of the class {folder!r}, which meta/classes.txt lacks"


def _keys(report: ReleaseReport, file: str, what: str, names: list[str] | None) -> list[tuple[str, int]] | None:
    """(class/file, line) of each image."""
    lines = read_lines(report, file, what, "class_name/key")
    if lines is None or names is None:
        return None
    known = frozenset(names)
    faults, good, seen = [], [], set[str]()
    for number, key in lines:
        folder, _, rest = key.partition("/")
        plain = folder in known and rest and "/" not in rest and not path_fault(key)
        fault = "" if plain else _key_fault(key, names)
        if not fault and key in seen:
            fault = "is listed twice"
        if fault:
            faults.append(f"{file}, line {number}: {key!r} {fault}")
        else:
            seen.add(key)
            good.append((key, number))
    report.faults += faults[:_SHOWN]
    return good


def _verified(report: ReleaseReport, file: str) -> dict[str, int] | None:
    """1 for each image whose label was found right, 0 for one found wrong, by class/file."""
    lines = read_lines(report, file, "verified images", "class_name/key")
    if lines is None:
        return None
    found, faults = {}, []
    for number, line in lines:
        key, _, answer = line.rpartition("\t") if "\t" in line else line.rpartition(" ")
        if answer in ("0", "1") and key.strip():
            found[key.strip()] = int(answer)
        else:
            faults.append(f"{file}, line {number}: {line!r} is not class/file, a tab and 0 or 1")
    report.faults += faults[:_SHOWN]
    return found
