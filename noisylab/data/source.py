"""What a data module reads, before anything is done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from noisylab.data.labels import twins
from noisylab.data.rows import RowStore
from noisylab.data.suspicions import odd_classes
from noisylab.engine.blockorder import RowBlocks

__all__ = ["OtherTest", "Source", "check_clips", "check_labels", "clips_agree"]


@dataclass
class OtherTest:
    """A test set beside the first one.

    Args:
        rows: inputs of its M rows.
        target: (M,) int64 their labels.
        names: (M) a name for each row (its file), or `None`.
    """

    rows: RowStore
    target: Tensor
    names: Sequence[str] | None = None


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
        group: (N,) int64 group of each training row (speaker, patient), or `None`. The rows of a group may have any labels.
        clip: (N,) int64 clip (recording, video) that each training row is a frame of, or `None`. The rows of a clip share
            one true label and, where there are groups, one group.
        test_clip: (M,) the same for the test rows.
        names: a name for each training row (its file), or `None`.
        test_names: the same for the test rows.
        account: what was read and what was left out, a sentence each, in the order in which a user is told before training.
        unlabeled: whether a label may be -1: such rows keep their numbers; semi-supervised methods learn from them, and they are
            not tested.
        held: (V,) rows, sorted, that the data itself holds out for validation; `None` where `val_fraction` says which.
        blocks: in which training rows lie on a disk; the order of an epoch then follows them. `None` for any order.
        other_tests: further test sets by the name of their split, such as "test_ilsvrc", under which their accuracies are logged.
        wrong: (N,) bool, rows whose given label is known to be wrong although the true one is not; `None` for none.
        fold: (N,) int64 fold of each training row, from 0, where the data itself divides them into as many as are asked for;
            `None` deals them.
    """

    train: RowStore
    given: Tensor
    class_names: tuple[str, ...]
    clean: Tensor | None = None
    test: RowStore | None = None
    test_target: Tensor | None = None
    group: Tensor | None = None
    clip: Tensor | None = None
    test_clip: Tensor | None = None
    names: Sequence[str] | None = None
    test_names: Sequence[str] | None = None
    account: list[str] = field(default_factory=list)
    unlabeled: bool = False
    held: Tensor | None = None
    blocks: RowBlocks | None = None
    other_tests: dict[str, OtherTest] = field(default_factory=dict)
    wrong: Tensor | None = None
    fold: Tensor | None = None

    def tested(self, split: str) -> OtherTest | None:
        """The test set under the name of its split, "test" for the first; `None` for another split."""
        if split == "test" and self.test is not None and self.test_target is not None:
            return OtherTest(self.test, self.test_target, self.test_names)
        return self.other_tests.get(split)

    def __post_init__(self) -> None:
        """Add notes about odd classes, such as two that are probably the same, to the account."""
        lines = [f"probably one class, kept apart: {' and '.join(map(ascii, group))}" for group in twins(self.class_names)]
        lines += odd_classes(self.class_names, self.given)
        self.account = [*self.account, *(line for line in lines if line not in self.account)]


def check_labels(source: Source) -> None:
    """Refuse labels outside the classes, unequal lengths and, where all rows are labeled, classes without a sample."""
    classes = len(source.class_names)
    if len(source.given) != len(source.train):
        raise ValueError(f"{len(source.train)} training inputs but {len(source.given)} labels; they must have the same length")
    others = ((name, other.target) for name, other in source.other_tests.items())
    for name, labels in (("training", source.given), ("test", source.test_target), *others):
        if labels is None:
            continue
        bad = ((labels < (-1 if source.unlabeled else 0)) | (labels >= classes)).nonzero().flatten()
        if len(bad):
            raise ValueError(
                f"{len(bad)} {name} labels are outside 0..{classes - 1}; the first is row {int(bad[0])} with "
                f"{int(labels[bad[0]])}. Number the classes from 0, or give all class names"
            )
    counts = torch.bincount(source.given[source.given >= 0], minlength=classes)
    if bool((counts == 0).any()) and bool((source.given >= 0).all()):
        empty = [source.class_names[i] for i in (counts == 0).nonzero().flatten().tolist()]
        raise ValueError(f"no training sample has the class {', '.join(empty[:10])}; remove the class or add samples")


def clips_agree(clip: Tensor, values: Tensor) -> bool:
    """Whether all rows of each clip have one value.

    Args:
        clip: (M,) int64.
        values: (M,) int64.
    """
    return _first_mixed(clip, values) is None


def check_clips(source: Source) -> None:
    """Refuse clips of unequal length with their rows, and clips whose rows differ in their true label or in their group.

    Labels are compared where they are known; without true labels the given ones count as true.

    Raises:
        ValueError: naming the first clip at fault and two of its rows.
    """
    truth = source.given if source.clean is None else source.clean
    parts = [("clip", source.clip, truth, "labels"), ("test_clip", source.test_clip, source.test_target, "labels")]
    if source.group is not None:
        parts.append(("clip", source.clip, source.group, "groups"))
    for name, clip, values, what in parts:
        if clip is None:
            continue
        if values is None or len(clip) != len(values):
            raise ValueError(f"{name} has {len(clip)} entries for {0 if values is None else len(values)} rows; give one per row")
        known = (values >= 0 if what == "labels" else torch.ones_like(values, dtype=torch.bool)).nonzero().flatten()
        mixed = _first_mixed(clip[known], values[known])
        if mixed is not None:
            first, other = (int(known[place]) for place in mixed)
            found = (int(values[first]), int(values[other]))
            shown = " and ".join(repr(source.class_names[v]) for v in found) if what == "labels" else f"{found[0]} and {found[1]}"
            raise ValueError(
                f"the rows of a clip share one of their {what}, but rows {first} and {other} of {name} {int(clip[first])} have "
                f"{shown}; number the clips so that each is one recording, or leave {name} out"
            )


def _first_mixed(clip: Tensor, values: Tensor) -> tuple[int, int] | None:
    """The first row of the first clip whose rows have different values, and the first row that differs from it."""
    if not len(clip):
        return None
    _, number = torch.unique(clip, return_inverse=True)
    rows = torch.arange(len(clip))
    first = torch.full((int(number.max()) + 1,), len(clip)).scatter_reduce(0, number, rows, "amin")[number]
    mixed = (values != values[first]).nonzero().flatten()
    if not len(mixed):
        return None
    place = mixed[first[mixed].argmin()]
    return int(first[place]), int(place)
