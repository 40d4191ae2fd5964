"""CIFAR-10N and CIFAR-100N: CIFAR's images with the labels that people gave them, from the files of both releases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from noisylab.arguments import Range, check_arguments
from noisylab.data.base import Source
from noisylab.data.cifar import CIFARImages
from noisylab.data.cifarfiles import check, layout_of, read
from noisylab.data.download import file_md5
from noisylab.data.plainpickle import load_numpy_file, load_torch_file
from noisylab.data.release import NamedRelease, ReleaseReport
from noisylab.noise import Noise, digest

__all__ = ["CIFARN", "human_labels"]

_Release: TypeAlias = Literal["CIFAR10", "CIFAR100"]
_PAGE = "https://github.com/UCSC-REAL/cifar-10-100n"
_SHOWN = 10  # labels in a message


@dataclass(frozen=True)
class _Labels:
    """Labels of one kind in a file, and what is known of the official ones.

    Args:
        keys: what they are called in the file; the first that is there.
        wrong: how many of them differ from the true ones.
        sha256: `digest` of them.
        truth: name of the true labels that they belong to.
    """

    keys: tuple[str, ...]
    wrong: int
    sha256: str
    truth: str = "clean"


@dataclass(frozen=True)
class _File:
    """The label file of a release.

    Args:
        title: of the data set.
        name: of the file, without its ending.
        md5: of the file of torch.
        labels: by the names that users give them.
        tensorflow: `digest` of the true labels in the order of TensorFlow Datasets.
    """

    title: str
    name: str
    md5: str
    labels: dict[str, _Labels]
    tensorflow: str


# numbers and digests were counted on the labels of the release, those in TensorFlow's order with its image_order_*.npy
_FILES: dict[_Release, _File] = {
    "CIFAR10": _File(
        "CIFAR-10N",
        "CIFAR-10_human",
        "96644db5574813cae939af5f7f2a0aec",
        {
            "clean": _Labels(("clean_label",), 0, "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f"),
            "aggregate": _Labels(("aggre_label",), 4505, "b3c3d486d22c3055756e7b1b1a0e98b099c1d68b771633023b0f76fa2e09ede6"),
            "random1": _Labels(("random_label1",), 8617, "b5dc9007ae247a48ce267bec37a1310b0cd65ed73801ca7e595fb954902575a7"),
            "random2": _Labels(("random_label2",), 9061, "1182c45d3a24636640fe1e3743b9566b6fabe86b2ed14f6b8216799e209a0d4e"),
            "random3": _Labels(("random_label3",), 8820, "b51e116c617ded2c98be095ba8b3abae8adfa6caa54f7f6eedf50c7aed013d44"),
            "worse": _Labels(("worse_label",), 20104, "a64d887522cf6d8f4966912a1536ea2d890600929a8465a7f307cdca2501847b"),
        },
        "44f381ab83e32edf40c7c31d79ff88b388b4404b7e80a827af0c6c75c1873f62",
    ),
    "CIFAR100": _File(
        "CIFAR-100N",
        "CIFAR-100_human",
        "a67b45c1d7992051865b5c755bd68bb1",
        {
            "clean": _Labels(("clean_label",), 0, "8bf4935e7c77a3096270043c6f3b221b6ecb9c63d1a08608e9af66cff17e977a"),
            "fine": _Labels(
                ("noisy_label", "noise_label"), 20100, "4a1efd5da7a214b299cf6ac0bafe3f0d48c065b7aa2d40aa185d4711714bb311"
            ),
            "clean_coarse": _Labels(
                ("clean_coarse_label",), 0, "9f99c2cdae93cf09da2fc6497c96ab042c6dc02c456a2e86dcffd2305df5a2e9", "clean_coarse"
            ),
            "coarse": _Labels(
                ("noisy_coarse_label",),
                13202,
                "e9bf8a7532d69a39e87e638082366b9466ad36cf76305612532d50fc94123d49",
                "clean_coarse",
            ),
        },
        "d9f98a8c9bb5708c135ac25557badc89662c9ac420e1e33a5cd4a35b02928e77",
    ),
}


class CIFARN(CIFARImages, NamedRelease):
    """CIFAR-10N and CIFAR-100N: the training images of CIFAR, relabeled by people, with their mistakes (Wei et al., ICLR 2022).

    - "aggregate" (ten classes, 9.01 % wrong): of CIFAR-10N, what most of three people said of an image, or what one of them
      said if all differ.
    - "random1", "random2", "random3" (17.23, 18.12 and 17.64 % wrong): the first, second and third label of each image; three
      labels, not the work of three persons.
    - "worse", also called "worst" (40.21 % wrong): a wrong one of these three wherever there is one.
    - "fine" (100 classes, 40.20 % wrong): of CIFAR-100N, what one person said of an image.
    - "coarse" (20 classes, 26.40 % wrong): the superclasses of these labels.

    `root` holds the images as for `CIFAR10` (for "fine" and "coarse" as for `CIFAR100`) and the label file ``CIFAR-10_human.pt``
    (``CIFAR-100_human.pt``) of https://github.com/UCSC-REAL/cifar-10-100n, beside the folder of the images or in it; the form
    ``.npy`` is read as well. Both are read without running what a pickle could say. True labels are CIFAR's own;
    rows, test images and views are those of `CIFAR10` and `CIFAR100`. The authors license the labels for non-commercial use.

    The set CIFAR100N of ACT is another one; see `CIFAR100`.

    Args:
        labels: which of the people's labels are given.
        root: folder of the files.
        label_file: the label file, where it lies elsewhere.
        synthetic_seed: draw the given labels anew, from the true ones and the transition matrix of the people's labels: as many
            wrong labels of each kind, on any images. The authors compare with this to show what is special about people's
            mistakes. The number is the seed of the draws; `None` for the people's labels.
        **cifar: see `CIFAR10`; ``verify=False`` admits label files of other content, too.

    Raises:
        FileNotFoundError: in ``setup``, when files are not there.
        ValueError: in ``setup``, when a file is damaged or another one, or when its labels belong to other images or to
            another order of them, such as TensorFlow's.
    """

    path_arguments = ("root", "label_file")

    def __init__(
        self,
        labels: Literal["aggregate", "random1", "random2", "random3", "worse", "worst", "fine", "coarse"],
        root: str = "data",
        label_file: str | None = None,
        synthetic_seed: Annotated[int, Range(0, whole=True, none="the people's labels")] | None = None,
        **cifar: Any,
    ) -> None:
        super().__init__(root=root, **cifar)
        check_arguments(type(self), {"labels": labels, "synthetic_seed": synthetic_seed})
        if self.noise is not None:
            raise ValueError(
                f"noise cannot be added to CIFARN, whose labels are wrong already; use it with {self._images(labels)}"
            )
        self.labels = "worse" if labels == "worst" else labels
        self.label_file = None if label_file is None else Path(label_file)
        self.synthetic_seed = synthetic_seed

    @staticmethod
    def _images(labels: str) -> _Release:
        return "CIFAR100" if labels in _FILES["CIFAR100"].labels else "CIFAR10"

    @property
    def release(self) -> _Release:
        """CIFAR-100 for "fine" and "coarse"."""
        return self._images(self.labels)

    @property
    def source_classes(self) -> int:
        """10, 100 or, for "coarse", 20; known without the files."""
        return 20 if self.labels == "coarse" else super().source_classes

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Whether images and labels of CIFAR-10N, of CIFAR-100N, or of both are there, official, and in one order.

        A set of which no file is there is only noted, unless neither is.
        """
        report = ReleaseReport(cls.__name__, root)
        begun = [release for release in _FILES if _begun(release, root)]
        for release in begun or _FILES:
            _check(release, report)
        for release in _FILES:
            if begun and release not in begun:
                kinds = " and ".join(kind for kind in _FILES[release].labels if not kind.startswith("clean"))
                report.notes.append(f"no file of {_FILES[release].title} is there, so that labels cannot be {kinds}")
        return report

    def load(self) -> Source:
        """Read the labels and the images, and compare the true labels of both."""
        file = _FILES[self.release]
        path = self.label_file or _find(self.release, self.root)
        if path is None:
            raise FileNotFoundError(
                f"root={str(self.root)!r} does not hold {file.name}.pt, the labels of {file.title}; fetch it from the folder "
                f"data of {_PAGE} (md5 {file.md5}) and put it into the folder {self.root.absolute()}, or name it with label_file"
            )
        found = human_labels(path, self.verify)
        kind = file.labels[self.labels]
        for name in (self.labels, kind.truth):
            if name not in found:
                raise ValueError(f"{path} has no labels {name!r}, only {', '.join(found)}; use the file {file.name}.pt")
        self.prepare_data()
        source = read(layout_of(self.release, coarse=self.labels == "coarse"), self.root, self.verify)
        fault = _order_fault(path, found[kind.truth], source.given, file.tensorflow)
        if fault is not None:
            raise ValueError(fault)
        given = found[self.labels]
        bad = (given >= len(source.class_names)).nonzero().flatten()
        if len(bad):
            raise ValueError(
                f"{path}, labels {self.labels!r}: {int(given[bad[0]])} in row {int(bad[0])} is not one of the "
                f"{len(source.class_names)} classes ({len(bad)} such labels); fetch the file again"
            )
        if self.synthetic_seed is not None:
            matrix = _transition_matrix(source.given, given, len(source.class_names))
            given = _Drawn(matrix, self.synthetic_seed)(source.given, len(source.class_names)).given_target
        return replace(source, given=given)


def human_labels(path: str | Path, verify: bool = True) -> dict[str, Tensor]:
    """All labels of a label file of CIFAR-10N or CIFAR-100N, in the order of CIFAR's Python release.

    For part of the images, take the same rows of both, and save the labels with `noisylab.noise.save_noise`.

    Args:
        path: ``CIFAR-10_human.pt`` or ``CIFAR-100_human.pt``, or one of them as ``.npy``. Nothing in it is run.
        verify: refuse a ``.pt`` file that does not have the official md5, and a ``.npy`` file with other labels than that.

    Returns:
        (N,) int64 labels by name: "clean", "aggregate", "random1", "random2", "random3" and "worse" of CIFAR-10N; "clean",
        "fine", "clean_coarse" and "coarse" of CIFAR-100N. "clean" and "clean_coarse" are the true ones.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: it is damaged, holds something else, or is not the official one.
    """
    path = Path(path)
    release, found = _read(path)
    if verify:
        wrong = _unofficial(path, release, found)
        if wrong is not None:
            raise ValueError(f"{path} {wrong}. Fetch it again from {_PAGE}, or set verify=False if the file is your own")
    return found


def _read(path: Path) -> tuple[_Release, dict[str, Tensor]]:
    """Which of the two sets a label file is of, and its labels by name."""
    again = f"fetch it again from {_PAGE}"
    if not path.is_file():
        raise FileNotFoundError(f"there is no label file {path}; {again}")
    try:
        held = load_numpy_file(path) if path.suffix == ".npy" else load_torch_file(path)
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}; {again}") from error
    which = _which({key for key, value in held.items() if isinstance(value, np.ndarray)})
    if which is None:
        raise ValueError(f"{path} holds {', '.join(sorted(map(str, held))) or 'nothing'}, no labels of people; {again}")
    release, named = which
    found = {}
    for name, key in named.items():
        labels = held[key]
        if labels.dtype.kind not in "iu" or labels.size != len(labels) or len(labels) != len(held[named["clean"]]):
            raise ValueError(f"{path} must hold {key!r} as one row of whole numbers, got {labels.dtype} {labels.shape}; {again}")
        found[name] = torch.from_numpy(labels.reshape(-1).astype(np.int64))
        if bool((found[name] < 0).any()):
            raise ValueError(f"{path} has negative labels in {key!r}; {again}")
    return release, found


def _which(keys: set[str]) -> tuple[_Release, dict[str, str]] | None:
    """Which set has arrays of these names, and the array of each kind of labels; `None` for neither."""
    for release, file in _FILES.items():
        named = {
            name: next(key for key in kind.keys if key in keys) for name, kind in file.labels.items() if keys & set(kind.keys)
        }
        if "clean" in named and set(named) - {"clean", "clean_coarse"}:
            return release, named
    return None


def _unofficial(path: Path, release: _Release, found: dict[str, Tensor]) -> str | None:
    """How a label file differs from the official one; `None` if it does not."""
    file = _FILES[release]
    if path.suffix != ".npy":
        md5 = file_md5(path)
        return None if md5 == file.md5 else f"has the md5 {md5}, the official file has {file.md5}"
    if digest(found["clean"]) == file.tensorflow:
        return None  # that order is named when it is compared with that of the images
    other = [name for name, labels in found.items() if digest(labels) != file.labels[name].sha256]
    return f"has other labels than the official ones: {', '.join(other)}" if other else None


def _order_fault(path: Path, clean: Tensor, true: Tensor, tensorflow: str) -> str | None:
    """What is wrong with a file whose true labels are not those of the images in their order; `None` if nothing is.

    Args:
        path: of the file.
        clean: (M,) its true labels.
        true: (N,) those of the images.
        tensorflow: `digest` of the fine ones in the order of TensorFlow Datasets.
    """
    if torch.equal(clean, true):
        return None
    right = "use CIFAR-10_human.pt or CIFAR-100_human.pt, which are in the order of CIFAR's Python release"
    if len(clean) != len(true):
        return f"{path} has {len(clean)} labels for {len(true)} images; {right}"
    first = int((clean != true).nonzero()[0])
    where = f"its true labels begin {_first(clean)}, those of the images {_first(true)}, and first differ in row {first}"
    if digest(clean) == tensorflow:
        return f"{path} is in the order of TensorFlow Datasets, not in that of the images: {where}; {right}"
    if torch.equal(clean.sort().values, true.sort().values):
        return f"{path} is in another order than the images, perhaps in that of TensorFlow Datasets: {where}; {right}"
    return f"{path} belongs to other images: {where}; {right}"


def _first(labels: Tensor) -> str:
    return " ".join(map(str, labels[:_SHOWN].tolist()))


def _places(release: _Release, root: Path) -> list[Path]:
    """Where a label file may lie."""
    folders = (root, root / layout_of(release).folder)
    return [folder / f"{_FILES[release].name}{ending}" for folder in folders for ending in (".pt", ".npy")]


def _find(release: _Release, root: Path) -> Path | None:
    return next((path for path in _places(release, root) if path.is_file()), None)


def _begun(release: _Release, root: Path) -> bool:
    """Whether any file of a set is there."""
    layout = layout_of(release)
    return any(path.exists() for path in (root / layout.folder, root / layout.archive, *_places(release, root)))


def _check(release: _Release, report: ReleaseReport) -> None:
    """Enter what there is of a set into a report."""
    root, layout, file = report.root, layout_of(release), _FILES[release]
    check(layout, report)
    path = _find(release, root)
    if path is None:
        report.missing.append(f"{file.name}.pt: the labels of {file.title}, from the folder data of {_PAGE} (md5 {file.md5})")
        return
    shown = path.relative_to(root).as_posix()
    official = path.suffix == ".npy" or report.digest(shown, file.md5)
    try:
        of, found = _read(path)
        if of != release:
            report.faults.append(f"{shown} holds the labels of {_FILES[of].title}; fetch {file.name}.pt from {_PAGE}")
            return
        wrong = _unofficial(path, release, found) if path.suffix == ".npy" else None
        if wrong is not None:
            report.faults.append(f"{shown} {wrong}; fetch {file.name}.pt from {_PAGE}")
        for name, kind in file.labels.items():
            if name in found and not name.startswith("clean"):
                number = int((found[name] != found[kind.truth]).sum())
                report.counts.append((f"{shown}: wrong labels of {name}", number, kind.wrong))
        if official and (root / layout.folder).is_dir() and not report.missing:
            fault = _order_fault(path, found["clean"], read(layout, root, verify=False).given, file.tensorflow)
            report.faults += [] if fault is None else [fault]
    except (OSError, ValueError) as error:
        report.faults.append(str(error))


def _transition_matrix(clean: Tensor, given: Tensor, classes: int) -> Tensor:
    """(K, K) float64 shares of the given labels (columns) of each true class (rows); a class without rows is always right."""
    counts = torch.bincount(clean * classes + given, minlength=classes**2).view(classes, classes).double()
    counts += torch.diag((counts.sum(1) == 0).double())
    return counts / counts.sum(1, keepdim=True)


class _Drawn(Noise):
    """Labels drawn from a matrix that was counted; see ``synthetic_seed`` of `CIFARN`."""

    kind = "matrix"

    def __init__(self, matrix: Tensor, seed: int) -> None:
        super().__init__(seed=seed)
        self.matrix = matrix

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """The one it was given."""
        return self.matrix
