"""What a data module reads, before anything is done to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisylab.data.rows import RowStore

__all__ = ["Source", "check_labels"]


@dataclass
class Source:
    """A data set as read, before noise, splits and subsets.

    Args:
        train: inputs of the N training rows.
        given: (N,) int64 labels as they stand.
        class_names: one name a class of the source.
        clean: (N,) int64 true labels, -1 where unknown; `None` when nothing is known.
        test: inputs of the test rows, or `None`.
        test_target: (M,) int64 labels of the test rows.
        group: (N,) int64 group of each training row (speaker, patient), or `None`.
        names: a name for each training row (its file), or `None`.
        test_names: the same for the test rows.
    """

    train: RowStore
    given: Tensor
    class_names: tuple[str, ...]
    clean: Tensor | None = None
    test: RowStore | None = None
    test_target: Tensor | None = None
    group: Tensor | None = None
    names: list[str] | None = None
    test_names: list[str] | None = None


def check_labels(source: Source) -> None:
    """Refuse labels outside the classes, unequal lengths and classes without a sample."""
    classes = len(source.class_names)
    if len(source.given) != len(source.train):
        raise ValueError(f"{len(source.train)} training inputs but {len(source.given)} labels; they must be of one length")
    for name, labels in (("training", source.given), ("test", source.test_target)):
        if labels is None:
            continue
        bad = ((labels < 0) | (labels >= classes)).nonzero().flatten()
        if len(bad):
            raise ValueError(
                f"{len(bad)} {name} labels are outside 0..{classes - 1}; the first is row {int(bad[0])} with "
                f"{int(labels[bad[0]])}. Number the classes from 0, or give all class names"
            )
    counts = torch.bincount(source.given, minlength=classes)
    if bool((counts == 0).any()):
        empty = [source.class_names[i] for i in (counts == 0).nonzero().flatten().tolist()]
        raise ValueError(f"no training sample has the class {', '.join(empty[:10])}; remove the class or add samples")
