"""Which rows are trained on, held out, trusted and tested: a function of labels and options, without any state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from noisylab.data.semi import LabelBudget, labeled_rows
from noisylab.data.source import Source, clips_agree
from noisylab.data.splits import clip_holdout, fold_rows, group_holdout, stratified_subset
from noisylab.data.trusted import TrustedRows

__all__ = ["Split", "SplitOptions", "empty_split", "split_rows"]


@dataclass(frozen=True)
class SplitOptions:
    """The arguments of `NoisyDataModule` that a split depends on; see there."""

    num_classes: int
    val_fraction: float = 0.0
    val_labels: Literal["given", "clean"] = "given"
    val_by: Literal["sample", "group"] = "sample"
    subset: int | None = None
    seed: int = 0
    folds: int = 0
    fold: int = 0
    fold_labels: Literal["true", "given"] = "true"
    labels: LabelBudget | None = None


@dataclass(frozen=True)
class Split:
    """The rows of each part of the data.

    Args:
        source: the data; with folds, its test set is its training set, of which `test` names the rows.
        train: (R,) rows to train on.
        val: (V,) held-out rows of the training set.
        test: (T,) rows of the test set that are evaluated.
        fold: rows of the training set that are the test set; empty without folds.
        trusted: rows of the training set whose labels are known to be right.
        unlabeled: (U,) rows of the training set without a given label that may be trained on, sorted.
        given: (N,) given labels, -1 for rows that have none or have lost it, see `LabelBudget`.
        train_target: (N,) labels to train on, the trusted ones among them.
        val_target: (N,) labels to compare with in validation, -1 where there is no right answer.
        clips: clip of each row, by split: of "val" and "test", where the labels of a clip agree.
        others: rows that are evaluated of the further test sets, by split.
    """

    source: Source
    train: Tensor
    val: Tensor
    test: Tensor
    fold: Tensor
    trusted: TrustedRows
    unlabeled: Tensor
    given: Tensor
    train_target: Tensor
    val_target: Tensor
    clips: dict[str, Tensor | None]
    others: dict[str, Tensor] = field(default_factory=dict)


def empty_split(source: Source) -> Split:
    """The split of data without rows, of which only the classes are known."""
    none = torch.empty(0, dtype=torch.int64)
    return Split(source, none, none, none, none, TrustedRows(none, none), none, none, none, none, {})


def split_rows(
    source: Source,
    given: Tensor,
    clean: Tensor,
    options: SplitOptions,
    set_apart: Callable[[Source, Tensor, Tensor, Tensor], TrustedRows],
) -> Split:
    """Divide the rows of a data set.

    Args:
        source: the data.
        given: (N,) labels of the training set, -1 for rows without one, which are `Split.unlabeled`.
        clean: (N,) true labels, -1 where unknown.
        options: how to divide.
        set_apart: given source, true labels, rows of the fold and (R,) rows that may be chosen: the trusted ones.

    Raises:
        ValueError: where nothing is left to train on or to compare with, and for groups or true labels that are not there.
    """
    rows = torch.arange(len(given))
    kept = given >= 0
    fold = rows[:0]
    if options.folds:
        by_truth = options.fold_labels == "true" and bool((clean >= 0).any())
        labels = torch.where(clean < 0, given, clean) if by_truth else given
        fold = fold_rows(source, labels, options.folds, options.fold, options.seed, options.val_by == "group")
        fold = fold[kept[fold]]
        # what belongs to a test row is found by its row of the training set
        truth = clean if by_truth else given
        source = replace(source, test=source.train, test_target=truth, test_clip=source.clip, test_names=source.names)
        kept[fold] = False
    # trusted rows before any are held out, since which those are depends on the noise; but a clip or group is held out as a whole
    single = options.val_by == "sample" and source.clip is None
    if source.held is not None:
        kept[source.held] = False
    trusted = TrustedRows(rows[:0], rows[:0])
    if single:
        trusted = set_apart(source, clean, fold, rows[kept])
        kept[trusted.rows] = False
    held = _held_out(source, given, rows[kept], options) if source.held is None else _of_the_data(source.held, given, options)
    kept[held] = False
    if not single:
        trusted = set_apart(source, clean, fold, rows[kept])
        kept[trusted.rows] = False
        held = held[~torch.isin(held, trusted.rows)]
    if not bool(kept.any()):
        raise ValueError("trusted_labels and held-out rows leave no row to train on; name fewer trusted rows")
    train, val = _shrunk(rows[kept], given, options), _shrunk(held, given, options)
    away = torch.cat([held, fold, trusted.rows])
    unlabeled = _without_answers(source, rows[given < 0], away, options)
    if options.labels is not None:
        chosen = labeled_rows(train, given, options.labels, source.class_names[: options.num_classes], source.clip)
        unlabeled = torch.cat([unlabeled, train[~torch.isin(train, chosen)]]).sort().values
        kept[chosen] = False
        given, train = torch.where(kept, -1, given), chosen  # also of rows that a subset leaves out
    unlabeled = _shrunk(unlabeled, given, options)
    # a true class that the model does not have (open-set noise) has no right answer
    val_target = given if options.val_labels == "given" else torch.where(clean < options.num_classes, clean, -1)
    if options.val_labels == "clean" and bool((clean[val] < 0).any()):
        raise ValueError("val_labels='clean' needs true labels for the held-out rows; use val_labels='given'")
    test_target = rows[:0] if source.test_target is None else source.test_target
    test = _tested(test_target, fold, options)
    clips: dict[str, Tensor | None] = {}
    if source.test_clip is None or clips_agree(source.test_clip[test], test_target[test]):
        clips["test"] = source.test_clip
    if source.clip is not None and clips_agree(source.clip[val], val_target[val]):
        clips["val"] = source.clip
    target = trusted.put_into(given)
    others = {
        name: _answerable(other.target, torch.arange(len(other.target)), options) for name, other in source.other_tests.items()
    }
    return Split(source, train, val, test, fold, trusted, unlabeled, given, target, val_target, clips, others)


def _held_out(source: Source, given: Tensor, rows: Tensor, options: SplitOptions) -> Tensor:
    """Those of `rows` that are held out for validation."""
    if not options.val_fraction:
        return rows[:0]
    if options.val_by == "group":
        if source.group is None:
            raise ValueError("val_by='group' needs groups, and this data has none; use val_by='sample'")
        return group_holdout(rows, source.group[rows], options.val_fraction, options.seed)
    if source.clip is not None:
        return rows[clip_holdout(source.clip[rows], given[rows], options.val_fraction, options.seed)]
    size = round(options.val_fraction * len(rows))
    return stratified_subset(rows, given[rows], size, options.seed, keep_singletons_out=True)


def _of_the_data(held: Tensor, given: Tensor, options: SplitOptions) -> Tensor:
    """The rows that the data itself holds out."""
    if options.val_fraction or options.folds:
        raise ValueError(
            f"the data holds {len(held)} rows out for validation itself; leave out val_fraction={options.val_fraction} and "
            f"folds={options.folds}"
        )
    return held[given[held] >= 0]


def _without_answers(source: Source, rows: Tensor, away: Tensor, options: SplitOptions) -> Tensor:
    """Those of the unlabeled `rows` that are not `away`, nor of a clip or group, kept whole, of which a row is."""
    rows = rows[~torch.isin(rows, away)]
    for whole in (source.clip, source.group if options.val_by == "group" else None):
        if whole is not None:
            rows = rows[~torch.isin(whole[rows], whole[away])]
    return rows


def _tested(target: Tensor, fold: Tensor, options: SplitOptions) -> Tensor:
    """The rows of the test set that have an answer which the model can give."""
    rows = fold if options.folds else torch.arange(len(target))
    found = _answerable(target, rows, options)
    if options.folds and not len(found):
        raise ValueError(f"no row of fold {options.fold} has a known true label to compare with; choose fewer folds")
    return found


def _answerable(target: Tensor, rows: Tensor, options: SplitOptions) -> Tensor:
    """Those of `rows` whose label is a class of the model, or a subset of them."""
    return _shrunk(rows[(target[rows] >= 0) & (target[rows] < options.num_classes)], target, options)


def _shrunk(rows: Tensor, labels: Tensor, options: SplitOptions) -> Tensor:
    if options.subset is None or len(rows) <= options.subset:
        return rows
    return stratified_subset(rows, labels[rows], options.subset, options.seed)
