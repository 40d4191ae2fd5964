"""XRMB: sound and movements of the mouth, two views of each moment of speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.arguments import check_arguments
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.labels import Array
from noisylab.data.release import NamedRelease, ReleaseReport
from noisylab.data.rows import DenseRows, MultiRows
from noisylab.reading import regular
from noisylab.transforms.views import feature_views

__all__ = ["XRMB"]

_FILES = ("XRMBf2KALDI_window7_single1.mat", "XRMBf2KALDI_window7_single2.mat")
_VIEWS = {"acoustic": 0, "articulatory": 1}  # the file of each
_WIDTHS = (273, 112)  # numbers in a row of each
_INPUTS = {"train": ("X1", "X2"), "tune": ("XV1", "XV2"), "test": ("XTe1", "XTe2")}
_ROWS = {"train": 1_429_236, "tune": 85_297, "test": 111_314}  # of the release
_CLASSES = range(38, 42)  # how many there may be; the sources name no number
_CHUNK = 65_536  # rows measured at once


class XRMB(NamedRelease, NoisyDataModule):
    """X-ray microbeam speech: 273 acoustic and 112 articulatory numbers of a moment, and the phone that is spoken (Wang, Arora,
    Livescu, SLT 2014; Wang, Arora, Livescu, Bilmes, ICASSP 2015).

    `root` holds the two files of the release, ``XRMBf2KALDI_window7_single1.mat`` with the acoustic arrays X1, XV1 and XTe1, and
    ``XRMBf2KALDI_window7_single2.mat`` with the articulatory X2, XV2 and XTe2, and with labels and speakers of all three parts
    (trainLabel, trainID, tuneLabel, ...). A row is a window of seven frames: neighbors share most of theirs, so that rows of one
    speaker must never be on both sides of a split. Rows have the speaker as their group.

    The labels are numbers from 0; there are as many classes as the largest label of the three parts says, and data of fewer than
    38 or more than 41 are refused. From the rows of each speaker in a part their mean is subtracted, and each column is divided
    by its standard deviation over the rows that are trained on.

    Reading needs ``pip install "noisylab[media]"``. Each array is read once, and only those that are used; all training speakers
    take 2.2 GB as float32, eight about 0.5 GB. While a file is read, its largest array is in memory beside the rows kept of it.

    Views: "weak" and "eval" are the numbers; "strong" has a random factor of 0.8 to 1.2 for each row, and noise of a quarter of
    the standard deviation on each number.

    Args:
        root: folder of the two files.
        views: "acoustic" and "articulatory", or one of them, which makes plain batches.
        speakers: how many of the training speakers are used, those with the smallest numbers; "all"; or a list of their numbers.
            Which eight the 329,312 training rows of a published run are of is not known.
        split: "official" validates on the tune part and tests on the test part; "speaker" reads the training part alone, of which
            `val_fraction` and `folds` take whole speakers.
        **kwargs: see `NoisyDataModule`.

    Raises:
        ModuleNotFoundError: in ``setup``, without scipy.
        FileNotFoundError: in ``setup``, without the files.
        ValueError: in ``setup``, naming the variable that is missing or does not fit.

    Example:
        >>> XRMB("nowhere", speakers="all").view_widths
        {'acoustic': 273, 'articulatory': 112}
    """

    path_arguments = ("root",)

    def __init__(
        self,
        root: str = "data/xrmb",
        views: tuple[str, ...] = ("acoustic", "articulatory"),
        speakers: int | Literal["all"] | list[int] = 8,
        split: Literal["official", "speaker"] = "official",
        **kwargs: Any,
    ) -> None:
        if split == "speaker" and kwargs.setdefault("val_by", "group") != "group":
            raise ValueError(
                f"val_by={kwargs['val_by']!r}: neighboring rows of XRMB share frames, and so would rows of one speaker on both "
                "sides; leave val_by out: split='speaker' holds out whole speakers"
            )
        super().__init__(**kwargs)
        check_arguments(type(self), {"split": split})
        if not views or len(set(views)) < len(views) or not set(views) <= set(_VIEWS):
            raise ValueError(f"views must be one or both of {', '.join(_VIEWS)}, got {list(views)}")
        if speakers != "all" and not isinstance(speakers, list) and (not isinstance(speakers, int) or speakers < 1):
            raise ValueError(
                f"speakers must be a whole number of at least 1, 'all', or a list of speakers' numbers, got {speakers!r}"
            )
        self.root, self.views, self.speakers, self.official = Path(root), tuple(views), speakers, split == "official"
        self._std: dict[str, Tensor] = {}

    @property
    def view_widths(self) -> dict[str, int]:
        """Numbers in a row of each view."""
        return {view: _WIDTHS[_VIEWS[view]] for view in self.views}

    @property
    def source_classes(self) -> int:
        """One more than the largest label of all parts, which are read once."""
        return _count_classes({part: labels for part, (labels, _) in self._tables.items()}, self._files[1])

    @property
    def held_out(self) -> str:
        """The tune part, or the share that `val_fraction` says."""
        return "rows of the tune speakers" if self.official else super().held_out

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Look at both files: which variables they have, of which shape, how many classes and speakers, and their SHA-256."""
        report = ReleaseReport(name=cls.__name__, root=Path(root))
        for name, what in zip(_FILES, ("the acoustic arrays", "the articulatory arrays, labels and speakers"), strict=True):
            if report.has(name, what):
                report.digest(name, None, "sha256")
        if report.missing:
            return report
        try:
            data = cls(str(root), speakers="all")
            for part, rows in data._rows.items():
                report.counts.append((f"rows of the {part} part", rows, _ROWS[part]))
            for part, (_, speakers) in data._tables.items():
                report.counts.append((f"speakers of the {part} part", len(np.unique(speakers)), None))
            report.counts.append(("classes", data.source_classes, None))
        except (OSError, ValueError, ModuleNotFoundError) as error:
            report.faults.append(str(error))
        return report

    def load(self) -> Source:
        """Read the rows of the chosen speakers, center them by speaker, and say how many there are."""
        tables, classes = self._tables, self.source_classes
        chosen = self._chosen(tables["train"][1])
        parts = {"train": np.flatnonzero(np.isin(tables["train"][1], chosen))}
        if self.official:
            parts |= {part: np.arange(len(tables[part][0])) for part in ("tune", "test")}
        trained, tested = (["train", "tune"], ["test"]) if self.official else (["train"], [])
        inputs = {view: self._read(view, {part: parts[part] for part in trained}) for view in self.views}
        tests = {view: self._read(view, {part: parts[part] for part in tested}) for view in self.views} if tested else {}
        labels = {part: torch.from_numpy(tables[part][0][rows].astype(np.int64)) for part, rows in parts.items()}
        group = {part: torch.from_numpy(tables[part][1][rows].astype(np.int64)) for part, rows in parts.items()}
        absent = (torch.bincount(labels["train"], minlength=classes) == 0).nonzero().flatten().tolist()
        if absent:
            raise ValueError(
                f"no training row of the speakers {_some(chosen)} has the class {_some(absent)} of 0..{classes - 1}; choose more "
                "speakers, or 'all'"
            )
        given = torch.cat([labels[part] for part in trained])
        source = Source(
            train=_store(inputs),
            given=given,
            clean=given,
            test=_store(tests) if tests else None,
            test_target=labels["test"] if tests else None,
            class_names=tuple(f"phone {number}" for number in range(classes)),
            group=torch.cat([group[part] for part in trained]),
            held=torch.arange(len(labels["train"]), len(given)) if self.official else None,
        )
        counts = ", ".join(f"{len(rows):,} {part} rows" for part, rows in parts.items())
        source.account.append(
            f"{self.root}: {counts}; {classes} classes; training speakers {_some(chosen)} ({len(chosen)} of "
            f"{len(np.unique(tables['train'][1]))})"
        )
        for part in parts.keys() - {"train"}:
            shared = np.intersect1d(tables[part][1], chosen).astype(int).tolist()
            if shared:
                source.account.append(f"{self.root}: training speakers that are also in the {part} part: {_some(shared)}")
        return source

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Divide each column by its standard deviation over the training rows, or by that of the model's record."""
        trained, tested = _views_of(source.train, self.views), _views_of(source.test, self.views)
        for view, values in trained.items():
            known = None if self.adopted is None else self.adopted["measured"].get("std", {}).get(view)
            std = _deviation(values, rows) if known is None else known
            self._std[view] = std
            for part in [values, *([tested[view]] if tested and source.test is not source.train else [])]:
                part.div_(std)

    def measured(self) -> dict[str, Any]:
        """The standard deviation of each column of each view."""
        return {"std": self._std}

    def view_set(self) -> Mapping[str, Any]:
        """Views of features of unit variance."""
        return feature_views()

    # ---- the files

    @cached_property
    def _files(self) -> tuple[Path, Path]:
        first, second = (self.root / name for name in _FILES)
        for file in (first, second):
            if not file.is_file():
                raise FileNotFoundError(
                    f"there is no file {file}; root must hold {' and '.join(_FILES)}, which the authors of XRMB hand out: get "
                    "both, and give their folder as root"
                )
            _refuse_hdf5(file)
        return first, second

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The number of rows of each part, after the shapes of all variables are known to fit."""
        shapes = [_shapes(file) for file in self._files]
        found: dict[str, int] = {}
        for part, names in _INPUTS.items():
            for name, shape, file, width in zip(names, shapes, self._files, _WIDTHS, strict=True):
                if name not in shape:
                    raise ValueError(f"{file} lacks the variable {name}; it has {', '.join(shape) or 'none'}: get the file again")
                if len(shape[name]) != 2 or shape[name][1] != width or not shape[name][0]:
                    raise ValueError(
                        f"{name} in {file} has the shape {shape[name]}, expected (rows, {width}); get the file again"
                    )
            counts = {
                f"{name} in {file.name}": shape[name][0] for name, file, shape in zip(names, self._files, shapes, strict=True)
            }
            for name in (f"{part}Label", f"{part}ID"):
                if name not in shapes[1]:
                    raise ValueError(
                        f"{self._files[1]} lacks the variable {name}; it has {', '.join(shapes[1])}: get the file again"
                    )
                counts[f"{name} in {self._files[1].name}"] = int(np.prod(shapes[1][name]))
            if len(set(counts.values())) > 1:
                told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
                raise ValueError(
                    f"the rows of the {part} part differ in number: {told}; row n of all must be one moment: get both files "
                    "again, from one release"
                )
            found[part] = next(iter(counts.values()))
        return found

    @cached_property
    def _tables(self) -> dict[str, tuple[Array, Array]]:
        """Labels and speakers of each part."""
        parts = list(self._rows)
        names = [f"{part}{kind}" for part in parts for kind in ("Label", "ID")]
        found = _load(self._files[1], names)
        for name in names:
            if not np.issubdtype(found[name].dtype, np.number) or bool((found[name] != np.floor(found[name])).any()):
                raise ValueError(
                    f"{name} in {self._files[1]} must hold whole numbers, got {found[name].dtype}; get the file again"
                )
        return {part: (found[f"{part}Label"].reshape(-1), found[f"{part}ID"].reshape(-1)) for part in parts}

    def _chosen(self, speakers: Array) -> list[int]:
        """The training speakers that are used."""
        known = np.unique(speakers).astype(int).tolist()
        if self.speakers == "all":
            return known
        if isinstance(self.speakers, list):
            strange = sorted(set(self.speakers) - set(known))
            if strange or not self.speakers:
                raise ValueError(f"speakers names {strange or 'nobody'}; the training speakers are {_some(known, len(known))}")
            return sorted(set(self.speakers))
        if self.speakers > len(known):
            raise ValueError(f"speakers={self.speakers}, but there are {len(known)} training speakers; ask for fewer, or 'all'")
        return known[: self.speakers]

    def _read(self, view: str, parts: Mapping[str, Array]) -> Tensor:
        """Rows of a view as float32, one part after the other, centered by speaker.

        Args:
            view: its name.
            parts: rows to take of each part.
        """
        file, width = self._files[_VIEWS[view]], _WIDTHS[_VIEWS[view]]
        whole = np.empty(
            (sum(map(len, parts.values())), width), dtype=np.float32
        )  # a file has column after column, batches need rows
        first = 0
        for part, rows in parts.items():
            name = _INPUTS[part][_VIEWS[view]]
            array = _load(file, [name])[name]
            if not np.issubdtype(array.dtype, np.number):
                raise ValueError(f"{name} in {file} must hold numbers, got {array.dtype}; get the file again")
            kept = whole[first : first + len(rows)]
            for start in range(0, len(rows), _CHUNK):
                kept[start : start + _CHUNK] = array[rows[start : start + _CHUNK]]
            del array
            speakers = self._tables[part][1][rows]
            for speaker in np.unique(speakers):
                own = np.flatnonzero(speakers == speaker)
                kept[own] -= kept[own].mean(0, dtype=np.float64).astype(np.float32)
            first += len(rows)
        return torch.from_numpy(whole)


def _scipy() -> ModuleType:
    try:
        import scipy.io
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'XRMB is read by the package scipy, which is not installed ({error}): pip install "noisylab[media]"', name="scipy"
        ) from None
    return scipy.io


def _refuse_hdf5(file: Path) -> None:
    """Refuse a .mat file of MATLAB 7.3, which is one of HDF5, before scipy does so in its own words."""
    with regular(file).open("rb") as content:
        head = content.read(520)
    if head.startswith(b"MATLAB 7.3") or b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:520]):
        raise ValueError(
            f"{file} is a MATLAB 7.3 file (HDF5), and the release has files of version 5; get it again, or in MATLAB load it and "
            "save it with the option -v7"
        )


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each variable, without reading it."""
    try:
        return {name: tuple(shape) for name, shape, _ in _scipy().whosmat(str(file))}
    except (OSError, ValueError, TypeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{file} cannot be read as a .mat file: {error}; get it again") from error


def _load(file: Path, names: Sequence[str]) -> dict[str, Array]:
    """Some variables of a file."""
    try:
        found: dict[str, Array] = _scipy().loadmat(str(file), variable_names=list(names))
    except MemoryError as error:
        raise MemoryError(f"{file} does not fit into memory; name fewer speakers, or use a machine with more") from error
    except Exception as error:  # whatever a damaged file raises: zlib's errors, too few bytes, numbers that are no types
        raise ValueError(f"{file} cannot be read: {error}; get it again") from error
    return found


def _count_classes(labels: Mapping[str, Array], file: Path) -> int:
    low, high = min(int(part.min()) for part in labels.values()), max(int(part.max()) for part in labels.values())
    if low < 0 or high + 1 not in _CLASSES:
        raise ValueError(
            f"the labels in {file} are numbers from {low} to {high}, and XRMB has {_CLASSES[0]} to {_CLASSES[-1]} classes, "
            "numbered from 0; get the file again"
        )
    return high + 1


def _store(views: Mapping[str, Tensor]) -> DenseRows | MultiRows:
    stores = {name: DenseRows(rows) for name, rows in views.items()}
    return next(iter(stores.values())) if len(stores) == 1 else MultiRows(stores)


def _views_of(store: Any, views: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of `_store` again, by view; none where there are no rows."""
    if store is None:
        return {}
    stores = store.views if isinstance(store, MultiRows) else {views[0]: store}
    return {view: rows.values for view, rows in stores.items() if isinstance(rows, DenseRows)}


def _deviation(values: Tensor, rows: Tensor) -> Tensor:
    """(D,) standard deviation of the columns over some rows; 1 for a constant one."""
    total, square = torch.zeros(2, values.shape[1], dtype=torch.float64)
    for part in rows.split(_CHUNK):
        chosen = values[part].double()
        total += chosen.sum(0)
        square += chosen.square().sum(0)
    std = (square / len(rows) - (total / len(rows)).square()).clamp_min(0).sqrt().float()
    return torch.where(std > 0, std, 1.0)


def _some(numbers: Sequence[int], most: int = 10) -> str:
    return ", ".join(map(str, numbers[:most])) + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
