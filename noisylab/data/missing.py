"""Labels that mean "no label": which values they are, and which rows have them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

__all__ = ["DOUBTFUL", "MISSING", "UNLABELED_FOLDERS", "Missing", "Unlabeled", "doubtful", "unlabeled", "unlabeled_names"]

Missing: TypeAlias = Literal["auto", "all", "none"] | list[str]
"""Which labels are none: empty ones, the words of `MISSING` and -1 ("auto", or "all"), none of them, or those listed."""

MISSING = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN"}
    | {"None", "n/a", "nan", "null"}
)
"""Words that pandas reads as missing (pandas 2, ``read_csv``, ``na_values``)."""

DOUBTFUL = frozenset(
    {"?", "??", "???", "-", "--", "---", ".", "..", "...", "n.a.", "na", "none", "nil", "missing", "unlabeled", "unlabelled"}
    | {"unsup", "unsupervised", "undefined", "tbd", "todo", "#n/a", "#value!", "#ref!", "#name?", "#null!", "#div/0!"}
    | {"nat", "<unk>"}
)
"""Words, in lower case, that may mean that there is no label; they are classes, and a user is told."""

UNLABELED_FOLDERS = frozenset({"unlabeled", "unlabelled"})
"""Names, in lower case, of the folder beside the class folders whose images have no label."""

_FORGOTTEN = 0.1  # share of empty labels up to which they may have been forgotten
_DOUBTFUL = DOUBTFUL | {word.lower() for word in MISSING}
_WHOLE = re.compile(r"[+-]?[0-9]+")


class Unlabeled(NamedTuple):
    """Which of N rows have no label.

    Args:
        mask: (N,) True for a row without one.
        words: how often each missing label occurs.
    """

    mask: np.ndarray[tuple[int], np.dtype[np.bool_]]
    words: Counter[str]

    def told(self, where: str) -> list[str]:
        """The message for the user; empty if every row has a label."""
        if not self.words:
            return []
        count, many = self.words.total(), len(self.mask)
        words = ", ".join(f"{repr(word) if word else 'empty'} {number:,}" for word, number in self.words.most_common(5))
        labeled = many - int(self.mask.sum())
        line = f"{where}: {count:,} of {many:,} rows have no label ({words}), {labeled:,} are labeled"
        if set(self.words) - {""}:
            line += "; if that is a class, say --data.missing none"
        if 0 < self.words[""] <= _FORGOTTEN * many:
            line += "; if empty labels were forgotten, fill them in or remove the rows"
        return [line]


def unlabeled_names(names: Collection[str], missing: Missing) -> frozenset[str]:
    """Those of the class folders whose images have no label: ``unlabeled`` in any spelling, or what `missing` lists.

    Args:
        names: of the folders.
        missing: see `Missing`; "none" takes every folder for a class.

    >>> sorted(unlabeled_names(["cat", "Unlabelled", "unsup"], "auto")), sorted(unlabeled_names(["cat", "unsup"], ["unsup"]))
    (['Unlabelled'], ['unsup'])
    """
    if isinstance(missing, list):
        return frozenset(names) & frozenset(map(str, missing))
    return frozenset(() if missing == "none" else (name for name in names if name.lower() in UNLABELED_FOLDERS))


def unlabeled(labels: Sequence[str], missing: Missing, where: str, classes: Collection[str] = ()) -> Unlabeled:
    """Find the rows whose label means "no label".

    Where all labels are whole numbers, -1 is none, as in scikit-learn, unless it may be a class: next to 1 or to 0 and 1.

    Args:
        labels: (N) labels, numbers as text.
        missing: see `Missing`.
        where: their name in messages.
        classes: names that are classes for certain.

    Raises:
        ValueError: if `missing` is neither a known word nor a list, or of numbers below 0 that may or may not be classes.
    """
    if isinstance(missing, str) and missing not in ("auto", "all", "none"):
        raise ValueError(f"missing must be auto, all, none or a list of labels such as [NA, -1], got {missing!r}")
    different = set(labels) - set(classes)
    if missing == "none":
        gone: set[str] = set()
    elif isinstance(missing, list):
        gone = different & set(map(str, missing))
    else:
        gone = different & (MISSING | {""})
        gone |= _below_zero(set(labels) - gone - {""}, where) - set(classes)
    mask = np.array([label in gone for label in labels], dtype=bool)
    return Unlabeled(mask, Counter(label for label in labels if label in gone))


def _below_zero(labels: set[str], where: str) -> set[str]:
    """The labels that stand for -1, where all are whole numbers."""
    if not all(map(_WHOLE.fullmatch, labels)):
        return set()
    values = {int(label) for label in labels}
    below = sorted(value for value in values if value < 0)
    if not below:
        return set()
    shown = ", ".join(map(str, below[:3]))
    if below != [-1]:
        raise ValueError(
            f"{where} has labels below 0 ({shown}); set --data.missing none if they are classes, or name those that stand for no "
            f"label: --data.missing '[{shown}]'"
        )
    if values <= {-1, 0, 1}:
        raise ValueError(
            f"{where} has the labels {', '.join(map(str, sorted(values)))}, and -1 may be a class or stand for no label; set "
            "--data.missing none if it is a class, or --data.missing '[-1]' if it is not"
        )
    return {label for label in labels if int(label) == -1}


def doubtful(classes: Collection[str], where: str) -> list[str]:
    """The message about classes that may mean "no label", such as ``?``, and -1 if all labels are whole numbers."""
    numbers = all(map(_WHOLE.fullmatch, classes))
    return [
        f"{where}: {name!r} is taken for a class; if it stands for no label, say so: "
        f"--data.missing '{json.dumps([name], ensure_ascii=False)}'"
        for name in classes
        if name.strip().lower() in _DOUBTFUL or (numbers and int(name) == -1)
    ]
