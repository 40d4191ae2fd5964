"""Labels as scikit-learn has them, and as numbers of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from noisylab.data.labels import Array
from noisylab.data.missing import Missing, unlabeled

__all__ = ["Targets", "read_targets"]


@dataclass(frozen=True)
class Targets:
    """Labels by number.

    Args:
        classes: (K,) the classes, sorted, in their own type.
        codes: (N,) int64 places in `classes`, -1 for rows without a label.
    """

    classes: Array
    codes: NDArray[np.int64]

    @property
    def names(self) -> list[str]:
        """K names of the classes."""
        return [str(label) for label in self.classes.tolist()]


def read_targets(y: Any, missing: Missing) -> Targets:
    """The classes of `y`, and which rows have none of them.

    Rows without a label have NaN or None, -1 among whole numbers (as in `sklearn.semi_supervised`), or what `missing` says.

    Args:
        y: (N,) whole numbers, truth values or text.
        missing: which labels are none, see `noisylab.data.missing.Missing`; "none" takes -1 and such words as "NA" for classes.

    Raises:
        ValueError: for continuous numbers, several labels a row, or fewer than two classes.
    """
    if y is None:
        raise ValueError(
            "NoisyLabelClassifier requires y to be passed, but the target y is None; give the labels of the rows of X"
        )
    labels = column_or_1d(y if hasattr(y, "dtype") or hasattr(y, "shape") else np.asarray(y), warn=True)
    labels = np.asarray(labels)
    none = _none(labels)
    if none.all():
        raise ValueError(f"y has {len(labels)} rows and no label; at least two classes are needed")
    # numbers beside NaN are floats, and text beside None objects; neither makes labels continuous or unknown
    there = labels[~none]
    if there.dtype.kind == "O" and all(isinstance(label, str) for label in there):
        there = there.astype(np.str_)
    if there.dtype.kind == "f" and none.any() and bool((there == np.floor(there)).all()):
        there = there.astype(np.int64)
    check_classification_targets(there)
    classes, places = np.unique(there, return_inverse=True)
    words = [str(int(label)) if isinstance(label, float) else str(label) for label in classes.tolist()]
    gone = unlabeled(words, _rule(missing, set(words)), "y").mask
    if gone.any():
        none[np.flatnonzero(~none)[gone[places]]] = True
        there, classes = there[~gone[places]], classes[~gone]
    if len(classes) < 2:
        raise ValueError(
            f"y has 1 class ({words[0]}) only, but a classifier needs samples of at least 2 classes to tell them apart"
        )
    codes = np.full(len(labels), -1, dtype=np.int64)
    codes[~none] = np.searchsorted(classes, there)
    if labels.dtype.kind == "O" and classes.dtype.kind == "U":
        classes = classes.astype(object)
    return Targets(classes, codes)


def _rule(missing: Missing, words: set[str]) -> Missing:
    """The rule for these labels: -1 beside one other of 0 and 1 is one of two classes, as in scikit-learn."""
    if missing not in ("auto", "all") or "-1" not in words or not words <= {"-1", "0", "1"}:
        return missing
    if len(words) == 3:
        raise ValueError(
            "y has the labels -1, 0 and 1, and -1 may be a class or stand for no label; set missing='none' if it is a class, or "
            "missing=[-1] if it is not"
        )
    return "none"


def _none(labels: Array) -> NDArray[np.bool_]:
    if labels.dtype.kind == "f":
        return np.isnan(labels)
    if labels.dtype.kind != "O":
        return np.zeros(len(labels), dtype=bool)
    return np.array([label is None or bool(label != label) for label in labels.tolist()], dtype=bool)
