"""Classes out of labels as people write them: numbers from anywhere, or text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = ["Array", "LabelNames", "one_row"]

Array: TypeAlias = np.ndarray[Any, Any]

_SHOWN = 5  # class names in a message


@dataclass(frozen=True)
class LabelNames:
    """The classes of a data set: labels as they are written, and a name for each.

    Args:
        values: (K,) labels as written, of class 0, 1, ...
        names: K names.
    """

    values: Array
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: Array, class_names: Array | None, what: str) -> LabelNames:
        """The different labels in sorted order, or what `class_names` says.

        Args:
            labels: (N,) whole numbers or text.
            class_names: (K,) text; labels that are numbers then are 0..K-1.
            what: the labels' name in messages.

        Raises:
            ValueError: if there are fewer than two classes, two of one name, or a label without text.
        """
        labels = one_row(labels, what)
        empty = [row for row, label in enumerate(labels.tolist()) if label == ""]
        if empty:
            raise ValueError(
                f"{what} has {len(empty)} labels without text, the first in row {empty[0]}; name them or drop the rows"
            )
        if class_names is None:
            values = np.unique(labels)
            names = tuple(str(value) for value in values.tolist())
        else:
            names = tuple(str(name) for name in class_names.reshape(-1).tolist())
            values = np.array(names) if labels.dtype.kind == "U" else np.arange(len(names))
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(
                f"{what} has {len(set(names))} different classes in {len(names)} names ({', '.join(names[:_SHOWN])}); at least "
                "two are needed, each with a name of its own. Check the labels and the class names"
            )
        return cls(values, names)

    def numbers(self, labels: Array, what: str, *, unknown: bool = False, files: Sequence[str] | None = None) -> Tensor:
        """(N,) int64 class of each label.

        Args:
            labels: (N,) labels as written.
            what: their name in messages.
            unknown: whether a label may be missing (a negative number or empty text), which gives -1.
            files: (N) files that the labels belong to, for messages; `None` counts rows from 0.

        Raises:
            ValueError: naming the first row whose label is no class.
        """
        labels = one_row(labels, what)
        known = f"{', '.join(self.names[:_SHOWN])}{', ...' if len(self.names) > _SHOWN else ''}"
        if (labels.dtype.kind == "U") != (self.values.dtype.kind == "U"):
            kinds = ("numbers", "text") if self.values.dtype.kind == "U" else ("text", "numbers")
            raise ValueError(f"{what} holds {kinds[0]}, but the classes are {kinds[1]} ({known}); write all labels alike")
        order = np.argsort(self.values)
        place = order[np.searchsorted(self.values, labels, sorter=order).clip(max=len(order) - 1)]
        found = self.values[place] == labels
        missing = labels == "" if labels.dtype.kind == "U" else labels < 0
        wrong = np.flatnonzero(~found & ~missing if unknown else ~found)
        if len(wrong):
            raise ValueError(
                f"{len(wrong)} of {len(labels)} labels of {what} are none of the {len(self.names)} classes ({known}); the first "
                f"is {labels[wrong[0]].item()!r} {f'of {files[wrong[0]]}' if files else f'in row {wrong[0]}'}. Correct it, or "
                "give every class a training row"
            )
        return torch.from_numpy(np.where(found, place, -1).astype(np.int64))


def one_row(labels: Array, what: str) -> Array:
    """The labels, if they are one row of whole numbers or text.

    Raises:
        ValueError: if they are not.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        raise ValueError(
            f"{what} must be one row of whole numbers or text, got {labels.dtype} of shape {labels.shape}; "
            "save one label a sample, as int64 or str"
        )
    return labels
