"""Array names that other libraries use: ``x_train``, ``y_train`` of Keras, ``train_images`` of MedMNIST."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Meant", "meant"]

_PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_PARTS |= {"val": "val", "valid": "val", "validation": "val", "dev": "val"}
_INPUTS, _LABELS = {"x", "images", "inputs", "features"}, {"y", "labels", "targets"}
_JOINED = re.compile(r"(x|y)(train|test|val|valid)")
_NAMED = re.compile(r"(?:test_)?(?:x(?:_.*)?|y|y_true|group|clip)|class_names")


class Meant(NamedTuple):
    """Arrays under the names that `noisylab.data.Arrays` uses.

    Args:
        stored: name in the file by the name that it stands for.
        unread: names in the file that stand for nothing.
        validation: names in the file of validation rows, which are not read as there are test rows.
    """

    stored: dict[str, str]
    unread: list[str]
    validation: list[str]


def meant(names: Sequence[str]) -> Meant:
    """Match the arrays of a file to the names that noisylab uses.

    A name of a part of the data before or behind that of inputs or labels (``x_train``, ``X_test``, ``val_labels``,
    ``x_test_left``) says what the rows are for. Without test rows, validation rows are the test rows, as with folders.

    Args:
        names: of the arrays in a file.

    Raises:
        ValueError: when two arrays would be one and the same.

    >>> meant(["X_train", "y_train", "X_test", "y_test"]).stored
    {'x': 'X_train', 'y': 'y_train', 'test_x': 'X_test', 'test_y': 'y_test'}
    """
    taken = {name: _taken_apart(name) for name in names}
    tested = any(part == "test" for part, _ in taken.values())
    stored: dict[str, str] = {}
    unread, validation = [], []
    for name, (part, rest) in taken.items():
        if part == "val" and tested and rest:
            validation.append(name)
            continue
        called = f"test_{rest}" if part in ("test", "val") else rest
        if not rest or not _NAMED.fullmatch(called):
            called = name
            if not _NAMED.fullmatch(name):
                unread.append(name)
        other = stored.setdefault(called, name)
        if other != name:
            raise ValueError(f"the arrays {other} and {name} both stand for {called}; remove or rename one of them")
    return Meant(stored, unread, validation)


def _taken_apart(name: str) -> tuple[str, str]:
    """Part of the data, empty for none, and what is left of a name without it, empty where it is not about inputs or labels."""
    joined = _JOINED.fullmatch(name.lower())
    words = [*joined.groups()] if joined else name.split("_")
    places = [place for place, word in enumerate(words) if word.lower() in _PARTS]
    # a word in front belongs to parts; else the first behind the word for inputs or labels
    part = "" if len(places) != 1 else _PARTS[words.pop(places[0]).lower()]
    first = words[0].lower() if words else ""
    if first in ("x", "y"):
        words[0] = first
    elif part and first in _INPUTS | _LABELS:
        words[0] = "x" if first in _INPUTS else "y"
    return part, "_".join(words)
