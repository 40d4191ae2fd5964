"""A split is a function of labels and options: nothing is read, nothing is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from noisylab.data.partition import Split, SplitOptions, split_rows
from noisylab.data.rows import DenseRows
from noisylab.data.source import Source
from noisylab.data.trusted import TrustedRows

CLASSES = ("a", "b", "c")
CLEAN = torch.arange(60) % 3
GIVEN = torch.where(torch.arange(60) % 10 == 0, (CLEAN + 1) % 3, CLEAN)


def source(tested: bool = False) -> Source:
    train = Source(DenseRows(torch.zeros(60, 2)), GIVEN, CLASSES, clean=CLEAN)
    return replace(train, test=DenseRows(torch.zeros(9, 2)), test_target=torch.arange(9) % 3) if tested else train


def nothing_apart(source: Source, clean: Tensor, fold: Tensor, rows: Tensor) -> TrustedRows:
    return TrustedRows(rows[:0], rows[:0])


def first_two_apart(source: Source, clean: Tensor, fold: Tensor, rows: Tensor) -> TrustedRows:
    return TrustedRows(rows[:2], clean[rows[:2]])


def parts(split: Split) -> list[int]:
    return torch.cat([split.train, split.val, split.fold, split.trusted.rows]).sort().values.tolist()


@pytest.mark.parametrize(
    "options",
    [
        SplitOptions(3),
        SplitOptions(3, val_fraction=0.2),
        SplitOptions(3, folds=5, fold=3),
        SplitOptions(3, folds=4, fold=1, val_fraction=0.25, seed=7),
    ],
    ids=["all to train on", "held out", "folds", "folds and held out"],
)
def test_every_row_is_in_one_part(options: SplitOptions) -> None:
    split = split_rows(source(), GIVEN, CLEAN, options, first_two_apart)
    assert parts(split) == list(range(60))
    assert len(split.trusted.rows) == 2
    again = split_rows(source(), GIVEN, CLEAN, options, first_two_apart)
    assert all(torch.equal(getattr(split, name), getattr(again, name)) for name in ("train", "val", "test", "fold"))


@pytest.mark.parametrize(
    "options", [SplitOptions(3, val_fraction=0.5), SplitOptions(3, folds=4, fold=1)], ids=["held out", "folds"]
)
def test_rows_without_a_label_are_a_part_of_their_own(options: SplitOptions) -> None:
    given = GIVEN.clone()
    given[[4, 30]] = -1
    split = split_rows(source(), given, CLEAN, options, nothing_apart)
    assert split.unlabeled.tolist() == [4, 30]
    assert parts(split) == [row for row in range(60) if row not in (4, 30)]


def test_a_trusted_row_is_not_unlabeled_besides() -> None:
    given = GIVEN.clone()
    given[[4, 30]] = -1
    split = split_rows(source(), given, CLEAN, SplitOptions(3), lambda *_: TrustedRows(torch.tensor([4]), torch.tensor([1])))
    assert split.unlabeled.tolist() == [30] and split.train_target[4] == 1


def test_unlabeled_rows_of_a_held_out_clip_are_not_trained_on() -> None:
    given, clip = GIVEN.clone(), torch.arange(60) // 3
    given[::3] = -1  # one row of each clip
    clips = replace(source(), clip=clip, clean=None)
    split = split_rows(clips, given, torch.full_like(given, -1), SplitOptions(3, val_fraction=0.3), nothing_apart)
    held = set(clip[split.val].tolist())
    assert held and not held & set(clip[split.unlabeled].tolist())
    assert len(split.unlabeled) == 20 - len(held)


def test_a_subset_keeps_at_most_as_many_unlabeled_rows() -> None:
    given = GIVEN.clone()
    given[:40] = -1
    split = split_rows(source(), given, CLEAN, SplitOptions(3, subset=8), nothing_apart)
    assert len(split.unlabeled) == len(split.train) == 8 and bool((given[split.unlabeled] == -1).all())


def test_trusted_rows_give_up_their_given_label() -> None:
    split = split_rows(source(), GIVEN, CLEAN, SplitOptions(3), first_two_apart)
    assert (GIVEN[0].item(), split.train_target[0].item()) == (1, 0)
    assert torch.equal(split.train_target[2:], GIVEN[2:])


def test_a_fold_is_tested_with_its_true_labels() -> None:
    split = split_rows(source(), GIVEN, CLEAN, SplitOptions(3, folds=3, fold=2), nothing_apart)
    assert torch.equal(split.test, split.fold)
    assert split.source.test is split.source.train
    assert torch.equal(split.source.test_target[split.test], CLEAN[split.fold])  # type: ignore[index]


def test_classes_that_the_model_lacks_are_not_tested() -> None:
    split = split_rows(source(tested=True), GIVEN, CLEAN, SplitOptions(2, val_fraction=0.5, val_labels="clean"), nothing_apart)
    assert split.test.tolist() == [0, 1, 3, 4, 6, 7]
    assert set(split.val_target[CLEAN == 2].tolist()) == {-1}


@pytest.mark.parametrize(
    ("options", "clean", "said"),
    [
        (SplitOptions(3, val_fraction=0.5, val_labels="clean"), torch.full_like(CLEAN, -1), "needs true labels"),
        (SplitOptions(3, val_fraction=0.5, val_by="group"), CLEAN, "needs groups"),
    ],
)
def test_what_cannot_be_divided_is_refused(options: SplitOptions, clean: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split_rows(source(), GIVEN, clean, options, nothing_apart)


def test_nothing_left_to_train_on_is_refused() -> None:
    def all_apart(source: Source, clean: Tensor, fold: Tensor, rows: Tensor) -> TrustedRows:
        return TrustedRows(rows, clean[rows])

    with pytest.raises(ValueError, match="leave no row to train on"):
        split_rows(source(), GIVEN, CLEAN, SplitOptions(3), all_apart)


def test_what_is_given_is_not_changed() -> None:
    data = source()
    kept = replace(data)
    split_rows(data, GIVEN, CLEAN, SplitOptions(3, folds=3), first_two_apart)
    assert data.test is kept.test and torch.equal(GIVEN, torch.where(torch.arange(60) % 10 == 0, (CLEAN + 1) % 3, CLEAN))
