"""Noisy labels kept in a file: written atomically, read back with a check that they belong to the data."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisylab.files import atomic_path
from noisylab.noise.base import Noise, NoisyTargets, check_targets
from noisylab.reading import check_arrays
from noisylab.types import Inputs

__all__ = ["FromFile", "NoiseFile", "digest", "load_noise", "save_noise"]

_DESCRIPTION = ("kind", "rate", "measured_rate", "seed", "clean_sha256", "generator", "given_sha256")
_SHOWN = 12  # characters of a digest in a message
_CLASSES = 5  # in a message


@dataclass(frozen=True)
class NoiseFile:
    """The content of a noise file; what a foreign file does not state is `None`.

    Args:
        given_target: (N,) int64, the labels to train on, -1 for unlabeled rows.
        kind: the noise kind.
        rate: the kind's parameter, a fraction in [0, 1).
        measured_rate: fraction of labels that differ from the true ones.
        seed: seed of the draws.
        clean_sha256: `digest` of the true labels the noise was drawn for, by the file's numbers.
        class_names: names of the classes that the file's numbers stand for.
        generator: what made the labels, by name: kinds that go by one name, "instance" above all, have several generators.
        given_sha256: `digest` of the given labels.
    """

    given_target: Tensor
    kind: str | None = None
    rate: float | None = None
    measured_rate: float | None = None
    seed: int | None = None
    clean_sha256: str | None = None
    class_names: tuple[str, ...] | None = None
    generator: str | None = None
    given_sha256: str | None = None


class FromFile(Noise):
    """Given labels read from a file: one written by `save_noise`, or human labels from elsewhere.

    Where the file says how its classes are called, labels are matched by name, never by number; so are labels that are text. The
    numbers of other files are the places of the classes, or, without a digest and where all classes are called by whole numbers,
    their names. Rows with -1, or with empty text, lose their label: a file can make a data set a semi-supervised one.

    The transition matrix of the returned `NoisyTargets` is `None`: a file holds labels, not the law they were drawn
    from. The rate is the one in the file, if any.

    Args:
        path: an .npz or .npy file; Python objects in it are never unpickled.
        key: name of the labels in an .npz.
        check_digest: refuse a file whose digest of the true labels is missing or differs from the data's. Without the
            check nothing tells labels of another row order from the right ones.
        model_classes: number of classes the model sees, for labels of an open set; `None` for all source classes.

    Raises:
        ValueError: `model_classes` is below 2; later, at the call: the file does not fit the data.
    """

    kind = "file"
    of_rows = True
    path_arguments = ("path",)  # see `FittedData.path_arguments`

    def __init__(
        self, path: str | Path, key: str = "given_target", check_digest: bool = True, model_classes: int | None = None
    ) -> None:
        super().__init__()
        if model_classes is not None and model_classes < 2:
            raise ValueError(f"model_classes must be at least 2, got {model_classes}; leave it out for all classes")
        self.path = str(path)
        self.key = key
        self.check_digest = check_digest
        self.model_classes = model_classes

    def num_classes(self, source_classes: int) -> int:
        """`model_classes` if given, else all source classes."""
        return source_classes if self.model_classes is None else self.model_classes

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """Not known.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.path} holds labels, not the matrix they were drawn from; estimate it from the labels")

    def __call__(
        self, targets: Tensor, num_classes: int, inputs: Inputs | None = None, class_names: Sequence[str] | None = None
    ) -> NoisyTargets:
        """Read the given labels of a whole training set.

        Args:
            targets: (N,) integer, the true labels in 0..C-1, -1 where unknown, any device; not changed and not kept.
            num_classes: C, number of source classes, at least 2.
            inputs: unused.
            class_names: C names, by which the labels of the file are matched.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read as labels, was made for other true labels, has another number of rows,
                or holds a label out of range.
        """
        clean = check_targets(targets, num_classes, unknown=True)
        stored = load_noise(self.path, self.key)
        stored, theirs = self._renumbered(stored, clean, class_names)
        if self.check_digest:
            self._check_digest(stored, theirs)
        if len(stored.given_target) != len(clean):
            raise ValueError(
                f"{self.path} holds {len(stored.given_target)} labels, the data has {len(clean)} rows; "
                "use the file that was made for this training set"
            )
        try:
            given = check_targets(stored.given_target, self.num_classes(num_classes), unknown=True)
        except ValueError as error:
            raise ValueError(f"labels {self.key!r} in {self.path}: {error}") from error
        return self._noisy(given, clean, None, stored.rate)

    def _renumbered(self, stored: NoiseFile, clean: Tensor, class_names: Sequence[str] | None) -> tuple[NoiseFile, Tensor]:
        """The file with the data's numbers of the classes, and the true labels with the file's."""
        if class_names is None:
            if stored.class_names is not None and stored.clean_sha256 is None:
                raise ValueError(f"{self.path} names its classes, but the data does not; save the labels as numbers")
            return stored, clean
        if stored.class_names is None:
            if stored.clean_sha256 is not None and self.check_digest:
                return stored, clean  # the digest says that the numbers are the data's
            return self._by_number(stored, class_names), clean
        place = {name: number for number, name in enumerate(class_names)}
        if len(place) < len(class_names):
            raise ValueError(
                f"the data has two classes with the same name ({', '.join(class_names)}), so labels cannot be matched by name"
            )
        used = [stored.class_names[number] for number in stored.given_target.unique().tolist() if number >= 0]
        unknown = [name for name in used if name not in place]
        if unknown:
            near = difflib.get_close_matches(unknown[0], place, n=1)
            raise ValueError(
                f"{self.path} has labels of {len(unknown)} classes that the data lacks, {unknown[0]!r} first"
                f"{f' (nearest: {near[0]!r})' if near else ''}; give the classes the same names, or use the file of this data set"
            )
        ours = torch.tensor([*(place.get(name, -1) for name in stored.class_names), -1])  # the last for rows without a label
        file_number = {name: number for number, name in enumerate(stored.class_names)}
        theirs = torch.tensor([*(file_number.get(name, -1) for name in class_names), -1])
        return replace(stored, given_target=ours[stored.given_target]), theirs[clean]

    def _by_number(self, stored: NoiseFile, class_names: Sequence[str]) -> NoiseFile:
        """Labels without names and digest: where all classes are called by whole numbers, these are meant."""
        if not all(re.fullmatch(r"[+-]?[0-9]+(\.0*)?", name) for name in class_names):
            return stored
        place = {int(float(name)): number for number, name in enumerate(class_names)}
        # -1 is no label, unless a class is called so
        unknown = [number for number in stored.given_target.unique().tolist() if number not in place and number != -1]
        if len(place) < len(class_names) or unknown:
            found = f"label {unknown[0]}, which is no class of the data" if unknown else "numbers"
            raise ValueError(
                f"{self.path} has {found} ({', '.join(class_names[:_CLASSES])}{', ...' if len(class_names) > _CLASSES else ''}); "
                "write the names of the classes as text, so that positions are not mistaken for names"
            )
        return replace(stored, given_target=torch.tensor([place.get(number, -1) for number in stored.given_target.tolist()]))

    def _check_digest(self, stored: NoiseFile, clean: Tensor) -> None:
        if stored.clean_sha256 is None:
            raise ValueError(
                f"{self.path} has no digest of the true labels it belongs to (clean_sha256); make the file with "
                "save_noise, or set check_digest=False if you are sure that its rows are in the order of the data"
            )
        expected = digest(clean)
        if stored.clean_sha256 != expected:
            raise ValueError(
                f"{self.path} was made for other true labels: digest {stored.clean_sha256[:_SHOWN]} "
                f"({len(stored.given_target)} labels) in the file, {expected[:_SHOWN]} ({len(clean)} labels) in the "
                "data; use the file made for this data set in this row order, or draw and save the noise again"
            )


def digest(targets: Tensor) -> str:
    """SHA-256, in 64 hexadecimal digits, of the labels as little-endian 64-bit integers.

    Args:
        targets: (N,) integer, any device; not changed.
    """
    return hashlib.sha256(targets.detach().cpu().numpy().astype("<i8").tobytes()).hexdigest()


def save_noise(
    path: str | Path,
    noisy: NoisyTargets,
    kind: str,
    seed: int | None,
    class_names: Sequence[str] | None = None,
    generator: str | None = None,
) -> None:
    """Write the labels to an .npz file atomically.

    Args:
        path: file to write; on failure the old file, if any, stays.
        noisy: the labels; the true ones enter only as a digest.
        kind: the noise kind.
        seed: seed of the draws; `None` for labels that were not drawn.
        class_names: C names, by which the labels are matched when they are read; `None` leaves them out.
        generator: what made the labels, with its arguments; `None` leaves it out.

    Raises:
        OSError: the file cannot be written.
    """
    entries: dict[str, Any] = {
        "given_target": noisy.given_target.numpy(),
        "kind": kind,
        "rate": noisy.rate,
        "measured_rate": noisy.measured_rate,
        "seed": seed,
        "clean_sha256": digest(noisy.clean_target),
        "class_names": None if class_names is None else np.array(list(class_names), dtype=np.str_),
        "generator": generator,
        "given_sha256": digest(noisy.given_target),
    }
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **{key: value for key, value in entries.items() if value is not None})


def load_noise(path: str | Path, key: str = "given_target") -> NoiseFile:
    """Read a file of labels.

    Args:
        path: an .npz or .npy file.
        key: name of the labels in an .npz.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no .npy or .npz of plain arrays, lacks `key`, or what is there is not one row of integers.
    """
    try:
        check_arrays(path, (key, *_DESCRIPTION))
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.ndarray):
                entries = {name: content[name] for name in (key, *_DESCRIPTION, "class_names") if name in content}
                held = sorted(content)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no noise file at {path}; draw the noise and write it with save_noise") from error
    except Exception as error:  # whatever a damaged, encrypted or foreign file raises
        raise ValueError(f"{path} is not an .npy or .npz file of plain arrays ({error}); save the labels as one") from error
    if isinstance(content, np.ndarray):
        labels, names = _labels(content, "the array", path, None)
        return NoiseFile(labels, class_names=names)
    if key not in entries:
        raise ValueError(f"{path} has no entry {key!r}, it holds {held}; set key to one of them")
    known = {name: entries[name].item() for name in _DESCRIPTION if name in entries and entries[name].ndim == 0}
    labels, names = _labels(entries[key], f"entry {key!r}", path, entries.get("class_names"))
    return NoiseFile(labels, **known, class_names=names)


def _labels(
    labels: np.ndarray[Any, Any], what: str, path: str | Path, class_names: np.ndarray[Any, Any] | None
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Labels as numbers, and what these stand for, where that is said or the labels are text."""
    if labels.ndim == 1 and labels.dtype.kind == "U":
        found, places = np.unique(labels, return_inverse=True)
        first = int(len(found) > 0 and found[0] == "")  # empty text is the smallest
        return torch.from_numpy(places.astype(np.int64)) - first, tuple(found[first:].tolist())
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{what} of {path} must be one row of integers or text, got shape {labels.shape} of {labels.dtype}; "
            "save the labels as an int64 array of shape (N,)"
        )
    names = None if class_names is None or class_names.dtype.kind != "U" else tuple(class_names.reshape(-1).tolist())
    if names is not None and len(labels) and not -1 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"{what} of {path} holds numbers outside the {len(names)} classes that the file names; save it again")
    return torch.from_numpy(labels.astype(np.int64)), names
