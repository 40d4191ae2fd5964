"""Tiny ImageNet, from the files of its release."""

from __future__ import annotations

import torch

from noisylab.data.named.listed import ReleaseParts
from noisylab.data.named.lists import ListedFiles, files_in, keep_present, path_fault, read_lines
from noisylab.data.named.pixels import SmallImages
from noisylab.data.release import ReleaseReport

__all__ = ["TinyImageNet"]

_CLASSES, _EACH = 200, 500
_SHOWN = 10


class TinyImageNet(SmallImages):
    """Tiny ImageNet: 200 classes of ImageNet with 500 training images of 64 x 64 pixels each (Stanford, CS231n).

    `root` holds ``wnids.txt`` with a synset in each line, ``words.txt`` with the words for a synset behind a tab,
    ``train/<synset>/images/*.JPEG``, and ``val/images`` with ``val/val_annotations.txt``, whose lines begin with file and synset,
    divided by tabs. The validation images are the test set, since those of the official test set have no labels. Classes are the
    sorted synsets, called by the first of their words where the words are there and differ.

    The labels are right: `noise` makes some of them wrong. Pictures are held in memory (100,000 take 1.1 GiB); a `size` below 64
    scales them. Views: "weak" is a crop out of the padded picture and a flip, "strong" adds the AutoAugment policy of CIFAR-10.

    Args:
        root: folder of the release.
        size: side of the pictures, in pixels.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        padding: largest shift of the crop, in pixels.
        strong: what the view "strong" does after crop and flip; `None` for AutoAugment.
        allow_truncated: see `ListedImages`.
        **kwargs: see `ListedImages`.

    Raises:
        FileNotFoundError: in ``setup``, naming the lists and pictures that are missing.
        ValueError: in ``setup``, naming lines of a list that cannot be used, or numbers that are not those of the release.
    """

    @property
    def source_classes(self) -> int:
        """Counted in ``wnids.txt``."""
        report = ReleaseReport(type(self).__name__, self.root)
        synsets = _synsets(report)
        report.refuse()
        return len(synsets)

    def read(self, report: ReleaseReport) -> ReleaseParts | None:
        """List the pictures of each synset, and those that the annotations name."""
        synsets = _synsets(report)
        annotated = read_lines(report, "val/val_annotations.txt", "synsets of the validation images")
        if not synsets or annotated is None:
            return None
        self.counted(report, "classes", len(synsets), _CLASSES)
        each = [files_in(report.root / f"train/{synset}/images", report.root) for synset in synsets]
        empty = [synset for synset, files in zip(synsets, each, strict=True) if not files]
        report.missing += [f"train/{synset}/images: training images" for synset in empty]
        odd = [s for s, files in zip(synsets, each, strict=True) if files and len(files) != _EACH] if self.verify else []
        report.faults += [f"train/{s}/images: not {_EACH} images; fetch the archive again" for s in odd[:_SHOWN]]
        self.counted(report, "training images", sum(map(len, each)), _CLASSES * _EACH)
        labels = torch.repeat_interleave(torch.arange(len(synsets)), torch.tensor([len(files) for files in each]))
        files = [name for found in each for name in found]
        train = ListedFiles(str(report.root / "train"), report.root, files, labels, [], labels)
        number = {synset: k for k, synset in enumerate(synsets)}
        names, classes, lines = [], [], []
        faults = []
        for line, text in annotated:
            file, synset = [*text.split("\t"), "", ""][:2]
            if synset not in number or "/" in file or path_fault(file):
                faults.append(f"val/val_annotations.txt, line {line}: {text!r} is not a file, a tab and a synset of wnids.txt")
                continue
            names.append(f"val/images/{file}")
            classes.append(number[synset])
            lines.append(line)
        report.faults += faults[:_SHOWN]
        self.counted(report, "validation images", len(names), None)
        where = str(report.root / "val/val_annotations.txt")
        test = ListedFiles(where, report.root, names, torch.tensor(classes, dtype=torch.int64), lines)
        test = keep_present(report, test, "validation images", self.allow_missing)
        return ReleaseParts(_words(report, synsets), train, test) if len(test) and not empty else None


def _synsets(report: ReleaseReport) -> list[str]:
    """The sorted synsets."""
    lines = read_lines(report, "wnids.txt", "synsets of the classes")
    names = [name for _, name in lines or []]
    faults = [
        f"wnids.txt, line {line}: {name!r} {path_fault(name) or 'is no synset'}" for line, name in lines or [] if "/" in name
    ]
    report.faults += faults[:_SHOWN]
    if len(set(names)) < len(names):
        report.faults.append("wnids.txt names a synset twice; fetch it again")
    return sorted(set(names))


def _words(report: ReleaseReport, synsets: list[str]) -> tuple[str, ...]:
    """The first of the words for each synset, where the words are there and differ; else the synsets."""
    if not (report.root / "words.txt").is_file():
        report.notes.append("words.txt is not there; classes are called by their synsets")
        return tuple(synsets)
    lines = read_lines(report, "words.txt", "words for the synsets")
    said = {synset: words.split(",")[0].strip() for _, line in lines or [] for synset, _, words in [line.partition("\t")]}
    words = [said.get(synset) or synset for synset in synsets]
    return tuple(words if len(set(words)) == len(words) else synsets)
