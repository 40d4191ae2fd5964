"""WebVision 1.0, by default its first 50 classes (mini-WebVision), tested on its own validation images and on ImageNet's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch

from noisylab.arguments import AtLeastOne, Range, check_arguments
from noisylab.data.named.listed import ListedImages, ReleaseParts
from noisylab.data.named.lists import ListedFiles, files_in, folder_names, keep_present, path_fault, read_label_list, read_lines
from noisylab.data.release import ReleaseReport
from noisylab.transforms.base import StrongView
from noisylab.transforms.resized_crop import resized_crop_view
from noisylab.transforms.views import IMAGENET_MEAN, IMAGENET_STD, ViewsBy, checked_strong, web_views

__all__ = ["WebVision", "imagenet_validation"]

_ALL, _EACH = 1000, 50  # classes, and validation images of each in both sets
_ENDS = {0: "n01440764", 49: "n01697457"}  # synsets of the classes, which are sorted
_SYNSET = re.compile(r"n[0-9]{8}")
_LISTS = ("imagenet_val.txt", "ILSVRC2012_val_label.txt")


class WebVision(ListedImages):
    """WebVision 1.0: photographs found by the names of ImageNet's classes (Li et al., arXiv 1708.02862), of which papers use the
    first 50 classes and the images of Google: mini-WebVision.

    ``info/train_filelist_google.txt`` has lines ``path class``, the path relative to `root`; ``info/val_filelist.txt`` has lines
    ``name class`` for ``val_images_256``, which are the test set. Lines of other classes than the first `classes` are skipped.
    The true labels of the training images are unknown, and there is no validation split unless `val_fraction` asks for one.

    With `ilsvrc`, the validation images of ImageNet (ILSVRC 2012) are a second test set, logged as ``test_ilsvrc/acc`` and
    ``test_ilsvrc/top5`` beside ``test/acc`` and ``test/top5``. It may be laid out in three ways, see `imagenet_validation`.

    Views as in the code of DivideMix: "weak" brings the shorter side to `resize`, cuts out a random part of 8 % to all of the
    area, scales it to `crop` pixels, and flips; the evaluation cuts out the middle.

    Args:
        root: folder of the release.
        classes: how many, from the first.
        ilsvrc: folder of ImageNet's validation images; `None` for ``root/imagenet`` if that is there, and no second test set
            otherwise.
        flickr: train on the images of Flickr, too, ``info/train_filelist_flickr.txt``, behind those of Google.
        resize: length of the shorter side, in pixels.
        crop: side of the square that a network sees, in pixels.
        strong: what the view "strong" does after a crop of `crop` out of `resize` pixels and a flip; `None` for RandAugment of
            the package `randaugment`.
        views: "pil" for views that worker processes make alone, "device" for those of which the training device makes the larger
            part, see `web_views`.
        **kwargs: see `ListedImages`; set `num_workers`.

    Raises:
        FileNotFoundError: in ``setup``, naming the lists and pictures that are missing.
        ValueError: in ``setup``, naming lines of a list that cannot be used, or classes that are not those of ImageNet.
    """

    path_arguments: ClassVar[tuple[str, ...]] = ("root", "ilsvrc")

    def __init__(
        self,
        root: str,
        classes: Annotated[int, Range(2, _ALL, whole=True)] = 50,
        ilsvrc: str | None = None,
        flickr: bool = False,
        resize: AtLeastOne = 320,
        crop: AtLeastOne = 299,
        strong: StrongView | None = None,
        views: ViewsBy = "pil",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        check_arguments(WebVision, {"classes": classes, "resize": resize, "crop": crop})
        self.classes, self.flickr = classes, flickr
        self.ilsvrc = None if ilsvrc is None else Path(ilsvrc)
        weak = resized_crop_view(crop, IMAGENET_MEAN, IMAGENET_STD, resize, views)
        self._transforms = {**web_views(resize, crop, strong=checked_strong(strong), views=views), "weak": weak}

    @property
    def source_classes(self) -> int:
        """As many as asked for."""
        return self.classes

    def read(self, report: ReleaseReport) -> ReleaseParts | None:
        """Read the lists of both parts and look for ImageNet's images."""
        parts = []
        for site in ("google", *(["flickr"] if self.flickr else [])):
            file = f"info/train_filelist_{site}.txt"
            parts.append(read_label_list(report, file, f"training images of {site}", _ALL, report.root, keep=self.classes))
        file = "info/val_filelist.txt"
        val = read_label_list(report, file, "validation images", _ALL, report.root, keep=self.classes, inside="val_images_256/")
        names = _synsets(report, self.classes)
        folder = report.root / "imagenet" if self.ilsvrc is None else self.ilsvrc
        others = {}
        if self.ilsvrc is not None or folder.is_dir():
            second = imagenet_validation(report, folder, self.classes)
            if second is not None:
                self.counted(report, f"ImageNet's validation images of {self.classes} classes", len(second), _EACH * self.classes)
                others["test_ilsvrc"] = keep_present(report, second, "ImageNet validation images", self.allow_missing)
        else:
            report.notes.append("ImageNet's validation images are not given (ilsvrc); there is no second test set")
        if val is None or None in parts:
            return None
        train = _together([part for part in parts if part is not None])
        self.counted(report, f"training images of {self.classes} classes", len(train), None)
        self.counted(report, f"validation images of {self.classes} classes", len(val), _EACH * self.classes)
        train = keep_present(report, train, "training images", self.allow_missing)
        val = keep_present(report, val, "validation images", self.allow_missing)
        return ReleaseParts(names, train, val, others=others)


def imagenet_validation(report: ReleaseReport, folder: Path, classes: int) -> ListedFiles | None:
    """The validation images of ImageNet, in one of three layouts; class k is the k-th of the sorted synsets.

    - ``imagenet_val.txt`` or ``ILSVRC2012_val_label.txt``, with lines ``file class`` or ``file class synset``, beside the
      pictures or the folder ``val`` of them;
    - ``val/0``, ``val/1``, ...: a folder for each class, called by its number;
    - ``val/n01440764``, ...: a folder for each synset, the first `classes` of which, sorted, are read. The folders may lie in
      `folder` itself.

    Args:
        report: receives what is missing or wrong.
        folder: see above.
        classes: how many classes are read.

    Returns:
        The images of these classes; `None` if none of the layouts is there.
    """
    pictures = folder / "val" if (folder / "val").is_dir() else folder
    listed = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
    if listed is not None:
        return _from_list(report, listed, pictures, classes)
    inside = folder_names(pictures)
    if inside and all(name.isdecimal() for name in inside):
        by_class = {int(name): name for name in inside}
        missing = [str(k) for k in range(classes) if k not in by_class]
        named = [by_class[k] for k in range(classes) if k in by_class]
    else:
        named = [name for name in inside if _SYNSET.fullmatch(name)][:classes]
        missing = [
            f"{_ENDS[place]} as synset {place}"
            for place in _ENDS
            if place < classes and named[place : place + 1] != [_ENDS[place]]
        ]
        if named and not missing and len(named) < classes:
            missing = [f"{classes - len(named)} of {classes} synsets"]
    if not named:
        report.missing.append(
            f"{pictures}: ImageNet's validation images, in folders by class number or synset, or with "
            f"{' or '.join(_LISTS)} in {folder}"
        )
        return None
    if missing:
        report.faults.append(
            f"{pictures} has no folder for the class {', '.join(missing[:5])}; give all validation images of ImageNet"
        )
        return None
    names = [files_in(pictures / name, pictures) for name in named]
    labels = torch.repeat_interleave(torch.arange(classes), torch.tensor([len(found) for found in names]))
    return ListedFiles(str(pictures), pictures, [name for found in names for name in found], labels, [])


def _from_list(report: ReleaseReport, file: Path, pictures: Path, classes: int) -> ListedFiles | None:
    """The images of a list ``file class`` or ``file class synset``."""
    own = ReleaseReport(report.name, file.parent)
    lines = read_lines(own, file.name, "classes of ImageNet's validation images")
    names, labels, numbers, synsets = [], [], [], dict[int, str]()
    for number, line in lines or []:
        parts = line.split()
        synset = parts.pop() if len(parts) > 2 and _SYNSET.fullmatch(parts[-1]) else ""
        name, found = " ".join(parts[:-1]), parts[-1]
        if not name or not found.isdecimal() or int(found) >= _ALL or path_fault(name):
            own.faults.append(f"{file.name}, line {number}: {line!r} is not a file of the data and a class in 0..{_ALL - 1}")
            continue
        k = int(found)
        if synset and synsets.setdefault(k, synset) != synset:
            own.faults.append(f"{file.name}, line {number}: class {k} is {synset} here and {synsets[k]} before; fetch it again")
        if k < classes:
            names.append(name)
            labels.append(k)
            numbers.append(number)
    for k, synset in _ENDS.items():
        if synsets.get(k, synset) != synset:
            own.faults.append(f"{file.name}: class {k} is {synsets[k]} and should be {synset}: classes are the sorted synsets")
    if [synsets[k] for k in sorted(synsets)] != sorted(synsets.values()):
        own.faults.append(f"{file.name}: its classes are not in the order of their synsets; number them so, from 0")
    if not names and not own.faults:
        own.faults.append(f"{file.name} names no image of the classes 0 to {classes - 1}; fetch it again")
    report.missing += own.missing
    report.faults += own.faults[:10]
    report.digests += [(str(file), digest, None) for _, digest, _ in own.digests]
    return ListedFiles(str(file), pictures, names, torch.tensor(labels, dtype=torch.int64), numbers) if names else None


def _together(parts: list[ListedFiles]) -> ListedFiles:
    """One list behind the other."""
    if len(parts) == 1:
        return parts[0]
    names, labels = [name for part in parts for name in part.names], torch.cat([part.labels for part in parts])
    return ListedFiles(" and ".join(part.where for part in parts), parts[0].folder, names, labels, [])


def _synsets(report: ReleaseReport, classes: int) -> tuple[str, ...]:
    """Names of the classes from ``info/synsets.txt``, where that is there; else their numbers."""
    numbers = tuple(str(k) for k in range(classes))
    if not (report.root / "info/synsets.txt").is_file():
        return numbers
    lines = read_lines(report, "info/synsets.txt", "names of the classes")
    found = [line.split()[0] for _, line in lines or []]
    if len(found) < classes or not all(map(_SYNSET.fullmatch, found)) or found != sorted(found):
        report.notes.append("info/synsets.txt is not the sorted list of synsets; classes are called by their numbers")
        return numbers
    return tuple(found[:classes])
