"""Clothing1M, from the key lists and label files of its release."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from noisylab.arguments import AtLeastOne, check_arguments
from noisylab.data.named.listed import ListedImages, ReleaseParts
from noisylab.data.named.lists import ListedFiles, keep_present, read_label_list, read_lines, read_name_list
from noisylab.data.release import ReleaseReport
from noisylab.transforms.base import StrongView
from noisylab.transforms.views import ViewsBy, check_image_views, checked_strong, web_views

__all__ = ["Clothing1M"]

_CLASSES = 14
_SIZES = {"noisy_train": 1_000_000, "clean_train": 47_570, "clean_val": 14_313, "clean_test": 10_526}  # lines of the key lists
_WITHOUT_LABEL = 1  # names of clean_train_key_list.txt that have none in the release
_PICTURES, _NAMES = "images/", "category_names_eng.txt"
_MEAN, _STD = (0.6959, 0.6537, 0.6371), (0.3113, 0.3192, 0.3214)  # authors' code of DivideMix


class Clothing1M(ListedImages):
    """Clothing1M: a million photographs of clothes from shopping sites, 14 classes, labels taken from the text around them
    (Xiao et al., CVPR 2015).

    `root` holds the lists, or has them in ``annotations``: ``noisy_label_kv.txt`` and ``clean_label_kv.txt`` with lines
    ``images/0/00/name.jpg 3``; ``noisy_train_key_list.txt`` and ``clean_train_key_list.txt``, ``clean_val_key_list.txt``,
    ``clean_test_key_list.txt`` with a path in each. The pictures are where the paths say, or there without ``images/``, where
    much code wants them; the first that is found decides. Rows are in the order of the key list. Names of the classes are read
    from ``category_names_eng.txt`` if that is there.

    Where an image has both labels, the checked one is its true label; all other true labels are unknown. The clean test list is
    the test set. Papers choose the epoch by the clean validation list, which is held out here unless ``val="none"``.

    The papers train on class-balanced parts that are drawn anew in each epoch: `epoch_rows` of every data set, or
    `warmup_subset` and `eval_subset` of `DivideMix`.

    Args:
        root: folder of the release.
        train: "noisy" for the million; "clean" for the checked training list; "overlap" for those of that list that have both
            labels, with the noisy one as given, so that every true label is known.
        val: "clean" for the checked validation list, whose labels are right; "none" for held-out rows by `val_fraction`.
        resize: length of the shorter side, in pixels.
        crop: side of the square that a network sees, in pixels.
        mean: per channel; of DivideMix's code.
        std: likewise.
        strong: what the view "strong" does after crop and flip; `None` for RandAugment of the package `randaugment`.
        views: "pil" for views that worker processes make alone, "device" for those of which the training device makes the larger
            part, see `web_views`.
        **kwargs: see `ListedImages`; set `num_workers`.

    Raises:
        FileNotFoundError: in ``setup``, naming the lists and pictures that are missing.
        ValueError: in ``setup``, naming lines of a list that cannot be used, or numbers that are not those of the release.
    """

    def __init__(
        self,
        root: str,
        train: Literal["noisy", "clean", "overlap"] = "noisy",
        val: Literal["clean", "none"] = "clean",
        resize: AtLeastOne = 256,
        crop: AtLeastOne = 224,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        check_arguments(Clothing1M, {"resize": resize, "crop": crop})
        check_image_views(mean, std)
        if train not in ("noisy", "clean", "overlap"):
            raise ValueError(f"train must be 'noisy', 'clean' or 'overlap', got {train!r}")
        if val not in ("clean", "none"):
            raise ValueError(f"val must be 'clean' or 'none', got {val!r}")
        self.train, self.val = train, val
        self._transforms = web_views(resize, crop, tuple(mean), tuple(std), checked_strong(strong), views)

    @property
    def source_classes(self) -> int:
        """Known without the files."""
        return _CLASSES

    @property
    def held_out(self) -> str:
        """The clean validation list, or the share that `val_fraction` says."""
        return "the clean validation list" if self.val == "clean" else super().held_out

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Look at all lists and for all pictures, those of the clean training list included."""
        report, clean = ReleaseReport(cls.__name__, root), ReleaseReport(cls.__name__, root)
        cls(root=str(root)).read(report)
        cls(root=str(root), train="clean", val="none").read(clean)
        report.missing += [line for line in clean.missing if line not in set(report.missing)]
        return report

    def read(self, report: ReleaseReport) -> ReleaseParts | None:
        """Join the key lists with the labels."""
        at = "" if any((report.root / name).is_file() for name in _files("")) else "annotations/"
        if not any((report.root / name).is_file() for name in _files(at)):
            at = ""  # nothing is there; the report names the lists as the release has them
        given = _by_name(report, f"{at}noisy_label_kv.txt", "labels from the web")
        checked = _by_name(report, f"{at}clean_label_kv.txt", "checked labels")
        keys = {}
        for part, size in _SIZES.items():
            listed = read_name_list(report, f"{at}{part}_key_list.txt", f"names of the {_words(part)} images")
            if listed is not None:
                keys[part] = listed
                self.counted(report, f"names in {part}_key_list.txt", len(listed[0]), size)
        if given is None or checked is None or len(keys) < len(_SIZES):
            return None
        cut = _prefix(report, [name for part in keys.values() for name in part[0]])

        def files(part: str, labels: Mapping[str, int]) -> ListedFiles:
            """The images of a key list that have a label, with their true labels where those are known."""
            places = [place for place, name in enumerate(keys[part][0]) if name in labels]
            names, lines = [keys[part][0][place] for place in places], [keys[part][1][place] for place in places]
            found = ListedFiles(
                str(report.root / f"{at}{part}_key_list.txt"),
                report.root,
                [cut(name) for name in names],
                torch.tensor([labels[name] for name in names], dtype=torch.int64),
                lines,
                torch.tensor([checked.get(name, -1) for name in names], dtype=torch.int64),
            )
            return keep_present(report, found, f"{_words(part)} images", self.allow_missing)

        for part, names in ((part, names) for part, (names, _) in keys.items()):
            without = [name for name in names if name not in (given if part == "noisy_train" else checked)]
            if without:
                kv = "noisy" if part == "noisy_train" else "clean"
                text = f"{len(without):,} names of {at}{part}_key_list.txt have no label in {at}{kv}_label_kv.txt ({without[0]})"
                known = part == "clean_train" and len(without) <= _WITHOUT_LABEL
                (report.notes if known or not self.verify else report.faults).append(f"{text}; left out")
        if self.train == "overlap":
            both = {name: label for name, label in given.items() if name in checked}
            train = files("clean_train", both)
            report.notes.append(f"{len(train):,} images of the clean training list have both labels")
        else:
            train = files(f"{self.train}_train", given if self.train == "noisy" else checked)
        if self.train == "noisy" and train.truth is not None:
            report.notes.append(f"{int((train.truth >= 0).sum()):,} of {len(train):,} training images have a checked label, too")
        held = files("clean_val", checked) if self.val == "clean" else None
        return ReleaseParts(_class_names(report, at), train, files("clean_test", checked), held)


def _files(at: str) -> list[str]:
    return [f"{at}{name}" for name in ("noisy_label_kv.txt", "clean_label_kv.txt", *(f"{part}_key_list.txt" for part in _SIZES))]


def _words(part: str) -> str:
    return part.replace("_", " ")


def _by_name(report: ReleaseReport, file: str, what: str) -> dict[str, int] | None:
    """The label of each image of a label file."""
    listed = read_label_list(report, file, what, _CLASSES, report.root)
    if listed is None:
        return None
    found: dict[str, int] = {}
    for name, label, line in zip(listed.names, listed.labels.tolist(), listed.lines, strict=True):
        if found.setdefault(name, label) != label:
            report.faults.append(
                f"{file}, line {line}: {name} has the class {label} here and {found[name]} before; keep one line"
            )
    return found


def _prefix(report: ReleaseReport, names: Sequence[str]) -> Callable[[str], str]:
    """How the paths of the lists are written on this disk: as they are, or without ``images/``, as the first one found says."""

    def bare(name: str) -> str:
        return name.removeprefix(_PICTURES)

    for name in names:
        if (report.root / name).is_file():
            return str
        if (report.root / bare(name)).is_file():
            return bare
    return str


def _class_names(report: ReleaseReport, at: str) -> tuple[str, ...]:
    """The names in the release's file of them, else the numbers."""
    numbers = tuple(str(number) for number in range(_CLASSES))
    file = next((file for file in (f"{at}{_NAMES}", _NAMES) if (report.root / file).is_file()), None)
    lines = None if file is None else read_lines(report, file, "names of the classes")
    if lines is None:
        return numbers
    names = tuple(name for _, name in lines)
    if len(set(names)) != _CLASSES or len(names) != _CLASSES:
        report.faults.append(
            f"{file} has {len(names)} names, {len(set(names))} of them different, instead of {_CLASSES}; fetch it again"
        )
        return numbers
    return names
