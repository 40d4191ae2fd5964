"""Animal-10N, from the folders in which it circulates."""

from __future__ import annotations

from pathlib import Path

import torch

from noisylab.data.named.listed import ReleaseParts
from noisylab.data.named.lists import ListedFiles, files_in, folder_names
from noisylab.data.named.pixels import SmallImages
from noisylab.data.release import ReleaseReport

__all__ = ["Animal10N"]

_CLASSES = 10
_FLAT, _FOLDERS = ("training", "testing"), ("train", "test")
_PICKLES = ("train_batch", "val_batch", "test_batch")
_SHOWN = 10


class Animal10N(SmallImages):
    """Animal-10N: photographs of ten animals in five pairs that look alike, labeled by people who erred (Song et al., ICML 2019).

    Two forms of it are read:

    - ``training`` and ``testing``, with files ``<label>_<rest>.jpg``, whose first character is the class, 0 to 9;
    - ``train`` and ``test``, with a folder for each class.

    Rows are in the order of the sorted names, since the order in which a disk lists them differs between machines. Classes are
    called by their digits in the first form and by their folders in the second. A third form, pickled batches, is refused:
    unpickling runs whatever a file says. True labels are unknown, and there is no validation split unless `val_fraction` asks for
    one.

    Pictures are held in memory; those of another size than `size` are scaled and cut to their middle. Views: "weak" is a crop out
    of the padded picture and a flip, "strong" adds the AutoAugment policy of CIFAR-10.

    Args:
        root: folder of the data.
        size: side of the pictures, in pixels.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        padding: largest shift of the crop, in pixels.
        strong: what the view "strong" does after crop and flip; `None` for AutoAugment.
        allow_truncated: see `ListedImages`.
        **kwargs: see `ListedImages`.

    Raises:
        FileNotFoundError: in ``setup``, when neither form is there.
        ValueError: in ``setup``, naming files whose name begins with no class, pictures that cannot be read, or pickled batches.
    """

    @property
    def source_classes(self) -> int:
        """Known without the files."""
        return _CLASSES

    def read(self, report: ReleaseReport) -> ReleaseParts | None:
        """List the files of whichever form is there."""
        if all((report.root / name).is_dir() for name in _FLAT):
            found = [_flat(report, name) for name in _FLAT]
            names: tuple[str, ...] = tuple(map(str, range(_CLASSES)))
        elif all((report.root / name).is_dir() for name in _FOLDERS):
            inside = [folder_names(report.root / name) for name in _FOLDERS]
            names = tuple(inside[0])
            if inside[1] != inside[0]:
                odd = sorted(set(inside[0]) ^ set(inside[1]))
                report.faults.append(
                    f"train and test have other class folders ({', '.join(odd[:5])} in one alone); name them alike"
                )
                return None
            report.counts.append(("class folders", len(names), _CLASSES))  # whatever `verify` says: models have ten outputs
            found = [_by_folder(report, name, names) for name in _FOLDERS]
        else:
            pickles = [name for name in _PICKLES if (report.root / name).exists()] + [
                path.name for path in sorted(report.root.glob("*.pkl")) if report.root.is_dir()
            ]
            if pickles:
                report.faults.append(
                    f"{', '.join(pickles)}: pickled batches are not read, since unpickling runs whatever a file says; fetch the "
                    "form with the folders training and testing"
                )
            report.missing.append(
                "training and testing: pictures called <label>_<rest>.jpg, or train and test with class folders"
            )
            return None
        self.counted(report, "training images", len(found[0]), None)
        self.counted(report, "test images", len(found[1]), None)
        return ReleaseParts(names, found[0], found[1]) if len(found[0]) and len(found[1]) else None


def _flat(report: ReleaseReport, part: str) -> ListedFiles:
    """The files of a folder, whose names begin with their class."""
    names = files_in(report.root / part, report.root)
    good = [name for name in names if _digit(name)]
    bad = [name for name in names if not _digit(name)]
    report.faults += [f"{name} does not begin with a class, 0 to 9, and _; rename or remove it" for name in bad[:_SHOWN]]
    if not names:
        report.missing.append(f"{part}/<label>_<rest>.jpg: pictures")
    labels = torch.tensor([int(Path(name).name[0]) for name in good], dtype=torch.int64)
    return ListedFiles(str(report.root / part), report.root, good, labels, [])


def _digit(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file[:1].isascii() and file[:1].isdecimal() and file[1:2] == "_"


def _by_folder(report: ReleaseReport, part: str, classes: tuple[str, ...]) -> ListedFiles:
    """The files of class folders."""
    each = [files_in(report.root / part / name, report.root) for name in classes]
    report.missing += [f"{part}/{name}: pictures" for name, files in zip(classes, each, strict=True) if not files]
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor([len(files) for files in each], dtype=torch.int64))
    return ListedFiles(str(report.root / part), report.root, [name for files in each for name in files], labels, [])
