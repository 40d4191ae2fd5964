"""Few labels among many rows: which training rows keep their label, so that any data set becomes a semi-supervised one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisylab.data.folders import listed
from noisylab.transforms.draws import key_from

__all__ = ["LabelBudget", "StudySplit", "account_of_labels", "labeled_rows", "left_out", "study_split"]


@dataclass(frozen=True)
class LabelBudget:
    """How many training rows keep their label.

    Args:
        per_class: so many of each class, at least 1; `None` where `total` says it.
        total: so many in all, at least 1.
        balanced: of `total`: as many of each class as possible, where False takes the shares of the training rows.
        seed: names the choice.

    Raises:
        ValueError: unless one of both numbers is given, and is at least 1.
    """

    per_class: int | None = None
    total: int | None = None
    balanced: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.per_class is None) == (self.total is None):
            raise ValueError(
                f"labels_per_class and labels_total say the same in two ways, got {self.per_class} and {self.total}; give one"
            )
        for name, value in (("labels_per_class", self.per_class), ("labels_total", self.total)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; leave it out to keep all labels")
        if self.per_class is not None and not self.balanced:
            raise ValueError("labels_balanced=False belongs to labels_total; leave it out, or give labels_total")

    @classmethod
    def of(cls, per_class: int | None, total: int | None, balanced: bool, seed: int) -> LabelBudget | None:
        """The budget of these arguments; `None` where all rows keep their label."""
        return None if per_class is None and total is None else cls(per_class, total, balanced, seed)

    def __str__(self) -> str:
        """As the arguments of a data module.

        >>> str(LabelBudget(total=40, balanced=False))
        'labels_total=40, labels_balanced=False, labels_seed=0'
        """
        asked = f"labels_total={self.total}" if self.per_class is None else f"labels_per_class={self.per_class}"
        return f"{asked}{'' if self.balanced else ', labels_balanced=False'}, labels_seed={self.seed}"


def labeled_rows(
    rows: Tensor, given: Tensor, budget: LabelBudget, class_names: tuple[str, ...], clip: Tensor | None = None
) -> Tensor:
    """Those of `rows` that keep their label, sorted.

    A random order of all N rows, named by the seed, decides: of each class the first ones in it keep their label. So the rows of
    a smaller number are among those of a larger one, and a row's place depends neither on its label nor on which rows are held
    out. Of a total, the first rows of the classes come first, then the second ones, and so on; with the shares of the data, row j
    of the n of a class comes at (j - 1/2) / n, which is the method of Webster and Sainte-Laguë for dividing seats.

    Args:
        rows: (M,) rows to choose from, with labels.
        given: (N,) int64 given labels of all rows.
        budget: how many.
        class_names: K names; the classes that are asked for.
        clip: (N,) int64 clip of each row: whole clips are chosen and counted then, by the given label of their first row in
            `rows`. `None` for single rows.

    Raises:
        ValueError: where a class has fewer rows than it should give, or all rows are fewer than the total, with the numbers.

    Example:
        >>> given = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> given[labeled_rows(torch.arange(6), given, LabelBudget(per_class=1), ("a", "b"))].tolist()
        [0, 1]
    """
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(key_from(budget.seed, "labels")))
    units, unit_of = rows, torch.arange(len(rows))
    if clip is not None:
        found, unit_of = torch.unique(clip[rows], return_inverse=True)
        units = rows[torch.full_like(found, len(rows)).scatter_reduce(0, unit_of, torch.arange(len(rows)), "amin")]
    place = torch.empty_like(order).scatter(0, order, torch.arange(len(order)))[units]
    label = given[units]
    counts = torch.bincount(label, minlength=len(class_names))
    _refuse_few(counts, budget, class_names, "rows" if clip is None else "clips")
    by_class = torch.argsort(place)
    by_class = by_class[torch.argsort(label[by_class], stable=True)]
    rank = torch.empty_like(place)
    rank[by_class] = torch.arange(len(units)) - (counts.cumsum(0) - counts)[label[by_class]]
    if budget.per_class is not None:
        chosen = rank < budget.per_class
    else:
        turn = rank.double() if budget.balanced else (rank + 0.5) / counts[label]
        first = torch.argsort(place)
        first = first[torch.argsort(turn[first], stable=True)][: budget.total]
        chosen = torch.zeros(len(units), dtype=torch.bool).scatter(0, first, torch.ones_like(first, dtype=torch.bool))
    return rows[chosen[unit_of]].sort().values


def _refuse_few(counts: Tensor, budget: LabelBudget, class_names: tuple[str, ...], what: str) -> None:
    """Refuse a budget that the classes cannot give."""
    each = budget.per_class
    if budget.total is not None:
        if budget.total > int(counts.sum()):
            raise ValueError(
                f"labels_total={budget.total}, but there are {int(counts.sum())} labeled training {what}; ask for fewer"
            )
        each = budget.total // len(class_names) if budget.balanced else 0
    short = [k for k, count in enumerate(counts.tolist()) if count < (each or 0)]
    if short:
        asked = (
            f"labels_per_class={each}" if budget.per_class is not None else f"labels_total={budget.total}, {each} of each class"
        )
        found = listed([f"{class_names[k]} with {int(counts[k])}" for k in short])
        share = "" if budget.per_class is not None else ", or labels_balanced false for the shares of the data"
        raise ValueError(
            f"{asked}: fewer labeled training {what} have the class {found}; ask for at most {int(counts.min())} a class{share}"
        )


def account_of_labels(
    train: Tensor, unlabeled: Tensor, given: Tensor, read: Tensor, budget: LabelBudget | None, class_names: tuple[str, ...]
) -> list[str]:
    """What a user is told of labels that rows have lost since the data was read, and of classes without any; often nothing.

    Args:
        train: (M,) labeled rows to train on.
        unlabeled: (U,) unlabeled ones.
        given: (N,) int64 given labels, -1 where there is none.
        read: (N,) int64 the same as read, before noise and the choice of labeled rows.
        budget: of the choice, if there is one.
        class_names: K names.
    """
    lost = int(((given < 0) & (read >= 0)).sum())
    lines = []
    if budget is not None:
        lines.append(f"{budget}: {len(train):,} training rows keep their label, {len(unlabeled):,} are unlabeled")
    elif lost:
        lines.append(f"{lost:,} of {len(given):,} training rows have no label in the file of the labels")
    counts = torch.bincount(given[train], minlength=len(class_names))[: len(class_names)]
    if bool((given < 0).any()) and not bool(counts.all()):
        names = [class_names[k] for k in (counts == 0).nonzero().flatten().tolist()]
        lines.append(f"no labeled training row has the class {listed(names)}, which can hardly be learned")
    return lines


def left_out(method: object, unlabeled: int) -> list[str]:
    """The message that a method has no use for unlabeled rows; empty for one that learns from them, and where there are none.

    Args:
        method: of `noisylab.methods`.
        unlabeled: number of unlabeled rows.
    """
    if not unlabeled or getattr(method, "uses_unlabeled", False):
        return []
    return [f"{type(method).__name__} learns from labeled rows alone: {unlabeled:,} unlabeled rows are left out of training"]


@dataclass(frozen=True)
class StudySplit:
    """The rows of a stand-in for a semi-supervised study, class by class.

    Args:
        validation: (V,) int64.
        labeled: (L,) int64, the rows of each class in the order in which they were drawn: the first n of each are those of a
            smaller split.
        unlabeled: (U,) int64.
    """

    validation: Tensor
    labeled: Tensor
    unlabeled: Tensor


def study_split(
    labels: Tensor, validation: int, labeled: int, unlabeled: int, seed: int = 0, keep: int | None = None
) -> StudySplit:
    """Validation, labeled and unlabeled rows of each class, as the threshold study divides its stand-in data.

    Of each class in the order of their numbers, the rows are permuted by one and the same numpy generator; the first ones are
    those to validate with, the next ones labeled, the next ones unlabeled, and the rest unused.

    Args:
        labels: (N,) int64 in 0..K-1.
        validation: rows of each class to validate with.
        labeled: rows of each class that have their label.
        unlabeled: rows of each class without one.
        seed: of the generator.
        keep: so many of the labeled rows of each class, the first ones; the others are in no part. `None` for all.

    Raises:
        ValueError: where a class has too few rows, or `keep` is not in 1..labeled.

    Example:
        >>> split = study_split(torch.arange(20) % 2, 1, 3, 4)
        >>> len(split.validation), len(split.labeled), len(split.unlabeled)
        (2, 6, 8)
    """
    if keep is not None and not 1 <= keep <= labeled:
        raise ValueError(f"keep must be in 1..{labeled}, the labeled rows of a class, got {keep}")
    generator = np.random.default_rng(seed)
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    ends = (0, validation, validation + labeled, validation + labeled + unlabeled)
    for k in range(int(labels.max()) + 1 if len(labels) else 0):
        rows = torch.from_numpy(generator.permutation((labels == k).nonzero().flatten().numpy()))
        if len(rows) < ends[-1]:
            raise ValueError(f"class {k} has {len(rows)} rows, but {ends[-1]} are to be divided; ask for fewer")
        for part, start, stop in zip(parts, ends[:-1], ends[1:], strict=True):
            part.append(rows[start:stop] if part is not parts[1] or keep is None else rows[start : start + keep])
    return StudySplit(*(torch.cat(part) if part else torch.empty(0, dtype=torch.int64) for part in parts))
