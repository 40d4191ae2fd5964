"""Parts of the training rows, each in turn the test set."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import train_batches, write_folders, write_table

from noisylab.checkpoints.stamp import check_data_stamp, data_stamp
from noisylab.data import Arrays, Digits, ImageFolder
from noisylab.data.splits import deal_folds
from noisylab.noise import OpenSet, PairFlip, Symmetric

ROWS, FOLDS = 47, 5
TRUTH = np.repeat(np.arange(4), [17, 13, 11, 6])
X = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Saves arrays without test rows and returns the data module that reads them, after its setup."""

    def build(changes: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        np.savez(tmp_path / "mine.npz", **{"x": X, "y": TRUTH, **(changes or {})})
        data = Arrays(str(tmp_path / "mine.npz"), **{"folds": FOLDS, **kwargs})
        data.setup()
        return data

    return build


def fold_rows(data: Any) -> list[int]:
    """Rows of the test set, as its batches number them."""
    return [row for batch in data.test_dataloader()["test"] for row in batch.index.tolist()]


def all_folds(make: Any, changes: dict[str, Any] | None = None, folds: int = FOLDS, **kwargs: Any) -> list[list[int]]:
    return [fold_rows(make(changes, folds=folds, fold=fold, **kwargs)) for fold in range(folds)]


# ---- dealing


def test_classes_of_one_row_are_dealt_in_turn() -> None:
    assert deal_folds(torch.tensor([0, 1, 2, 3, 4]), 2, seed=9).tolist() == [0, 1, 0, 1, 0]
    fold = deal_folds(torch.tensor([0, 0, 0, 1]), 2, seed=3).tolist()
    assert (sorted(fold[:3]), fold[3]) == ([0, 0, 1], 1), "the second class goes on where the first one stopped"


@pytest.mark.parametrize("folds", [2, 3, 7, 47])
def test_folds_are_even_as_a_whole_and_in_each_class(folds: int) -> None:
    labels = torch.from_numpy(TRUTH)[torch.randperm(ROWS)]
    fold = deal_folds(labels, folds, seed=1)
    for rows in (torch.arange(ROWS), *((labels == c).nonzero().flatten() for c in range(4))):
        counts = torch.bincount(fold[rows], minlength=folds)
        assert int(counts.max() - counts.min()) <= 1


def test_wholes_go_largest_first_to_the_smallest_fold() -> None:
    sizes, kinds = [4, 3, 2, 2, 1], [0, 0, 0, 1, 0]
    whole = torch.repeat_interleave(torch.tensor([70, 10, 50, 20, 30]), torch.tensor(sizes))
    labels = torch.repeat_interleave(torch.tensor(kinds), torch.tensor(sizes))
    mixed = torch.randperm(12)
    fold = torch.empty(12, dtype=torch.int64)
    fold[mixed] = deal_folds(labels[mixed], 2, 0, whole[mixed])
    # 4 to fold 0, 3 to 1, 2 to 1 (5 rows), 2 to 0 (6), 1 to 1 (6)
    assert fold.tolist() == [0] * 4 + [1] * 3 + [1] * 2 + [0] * 2 + [1]


def test_wholes_of_one_size_are_stratified() -> None:
    whole = torch.arange(90) % 30
    labels = whole % 3
    fold = deal_folds(labels, 5, 0, whole)
    assert [torch.bincount(labels[fold == k]).tolist() for k in range(5)] == [[6, 6, 6]] * 5
    assert not torch.equal(fold, deal_folds(labels, 5, 1, whole))


# ---- the data module


def test_each_row_is_in_one_fold_and_stratified_by_its_true_label(make: Any) -> None:
    found = all_folds(make, noise=PairFlip(0.45, seed=2))
    assert sorted(chain.from_iterable(found)) == list(range(ROWS))
    counts = np.array([np.bincount(TRUTH[rows], minlength=4) for rows in found])
    assert (counts.max(0) - counts.min(0)).max() <= 1
    assert {len(rows) for rows in found} == {ROWS // FOLDS, ROWS // FOLDS + 1}


def test_folds_are_named_by_the_split_seed_alone(make: Any) -> None:
    found = all_folds(make)
    noise = Symmetric(0.4, seed=3)
    others: list[dict[str, Any]] = [{"noise": noise, "trusted_per_class": 1}, {"seed": 7, "val_fraction": 0.2}]
    for other in others:
        assert all_folds(make, **other) == found
    assert all_folds(make, split_seed=1) != found


def test_test_batches_hold_inputs_and_true_labels_of_their_rows(make: Any) -> None:
    data = make(noise=PairFlip(0.45, seed=2), fold=3)
    (batch,) = data.test_dataloader()["test"]
    assert torch.equal(batch.inputs, torch.from_numpy(X)[batch.index])
    assert batch.target.tolist() == TRUTH[batch.index].tolist()
    assert not torch.equal(batch.target, data.given_target[batch.index])
    assert {b.split for b in data.predict_dataloader()["test"]} == {"test"}


def test_noise_is_that_of_data_without_folds(make: Any) -> None:
    whole = make(folds=0, noise=Symmetric(0.4, seed=5))
    for fold in range(FOLDS):
        data = make(fold=fold, noise=Symmetric(0.4, seed=5))
        assert torch.equal(data.given_target, whole.given_target)
        assert torch.equal(data.clean_target, whole.clean_target)


def test_rows_of_the_fold_are_in_no_other_part(make: Any) -> None:
    data = make(fold=2, noise=Symmetric(0.3, seed=1), val_fraction=0.25, trusted_per_class=1)
    test, info = fold_rows(data), data.info
    val = [row for batch in data.val_dataloader()["val"] for row in batch.index.tolist()]
    parts = [test, val, info.train_rows.tolist(), info.trusted_rows.tolist()]
    assert sorted(chain.from_iterable(parts)) == list(range(ROWS))
    assert len(val) == round(0.25 * (ROWS - len(test) - len(info.trusted_rows)))
    assert set(info.given_target[test].tolist()) == {-1}
    assert info.given_target[info.train_rows].min() >= 0
    seen = [row for batch in train_batches(data) for row in batch.index.tolist()]
    assert sorted(seen) == info.train_rows.tolist()


def test_without_folds_nothing_changes(make: Any) -> None:
    data = make(folds=0, val_fraction=0.2)
    assert data.test_dataloader() == {}
    assert len(data.info.train_rows) + data.info.num_val == ROWS
    assert "fold" not in data.protocol


def test_the_protocol_names_the_fold(make: Any) -> None:
    for share in (0.0, 0.2):
        assert make(fold=4, val_fraction=share).protocol.endswith("; the test set is fold 4 of 0..4 of the training rows")


def test_a_subset_shrinks_the_fold_too(make: Any) -> None:
    small, whole = make(fold=1, subset=6), make(fold=1)
    assert len(fold_rows(small)) == len(small.info.train_rows) == 6
    assert set(fold_rows(small)) < set(fold_rows(whole))
    assert set(small.info.train_rows.tolist()) < set(whole.info.train_rows.tolist())
    assert set(small.info.given_target[fold_rows(whole)].tolist()) == {-1}


# ---- which labels


GIVEN = np.where(np.arange(ROWS) % 3 == 0, (TRUTH + 1) % 4, TRUTH)


def test_given_labels_are_compared_with_where_no_true_one_is_known(make: Any) -> None:
    for changes in ({"y": GIVEN}, {"y": GIVEN, "y_true": np.full(ROWS, -1)}):
        (batch,) = make(changes).test_dataloader()["test"]
        assert batch.target.tolist() == GIVEN[batch.index].tolist()
        counts = np.array([np.bincount(GIVEN[rows], minlength=4) for rows in all_folds(make, changes)])
        assert (counts.max(0) - counts.min(0)).max() <= 1


def test_rows_of_unknown_truth_are_not_evaluated_and_not_trained_on(make: Any) -> None:
    known = np.where(np.arange(ROWS) % 4 == 1, -1, TRUTH)
    trained: list[int] = []
    for fold in range(FOLDS):
        data = make({"y": GIVEN, "y_true": known}, fold=fold)
        (batch,) = data.test_dataloader()["test"]
        assert batch.target.tolist() == known[batch.index].tolist()
        assert batch.target.min() >= 0
        trained += data.info.train_rows.tolist()
    assert np.bincount(trained).tolist() == [FOLDS - 1] * ROWS, "each row is left out in one fold, of known truth or not"


def test_a_fold_without_known_truth_is_refused(make: Any) -> None:
    one = np.where(np.arange(ROWS) == 0, TRUTH, -1)
    with pytest.raises(ValueError, match=r"no row of fold \d has a known true label to compare with; choose fewer folds"):
        all_folds(make, {"y_true": one})


def test_open_classes_are_not_evaluated(make: Any) -> None:
    data = make(noise=OpenSet(0.2, open_ratio=0.5))
    (batch,) = data.test_dataloader()["test"]
    assert data.num_classes == 2
    assert set(batch.target.tolist()) == {0, 1}
    assert not set(data.info.train_rows.tolist()) & set(batch.index.tolist())


# ---- wholes

CLIP = np.random.default_rng(0).permutation(np.repeat(np.arange(16), np.arange(16) % 3 + 2))
ROWS_OF_CLIPS = {"x": np.eye(len(CLIP), 3), "y": CLIP % 4, "clip": CLIP}


def test_clips_are_not_torn_apart_and_are_judged_as_clips(make: Any) -> None:
    noise = {"noise": Symmetric(0.5, seed=1), "noise_unit": "row"}
    found = all_folds(make, ROWS_OF_CLIPS, folds=3, **noise)
    assert sorted(chain.from_iterable(found)) == list(range(len(CLIP)))
    clips = [set(CLIP[rows].tolist()) for rows in found]
    assert sum(map(len, clips)) == 16 == len(set.union(*clips))
    data = make(ROWS_OF_CLIPS, folds=3, fold=1, val_fraction=0.3, **noise)
    assert data.clips("test").tolist() == CLIP.tolist()
    parts = [set(CLIP[rows].tolist()) for rows in (fold_rows(data), data.split.val, data.split.train)]
    assert sum(map(len, parts)) == 16


def test_clips_whose_labels_differ_are_not_judged_as_clips(make: Any) -> None:
    unknown = {**ROWS_OF_CLIPS, "y": np.arange(len(CLIP)) % 4, "y_true": np.full(len(CLIP), -1)}
    assert make(unknown, folds=2).clips("test") is None


def test_groups_are_not_torn_apart(make: Any) -> None:
    group = np.arange(ROWS) % 11
    found = all_folds(make, {"group": group}, val_by="group", folds=4)
    groups = [set(group[rows].tolist()) for rows in found]
    assert sum(map(len, groups)) == 11 == len(set.union(*groups))
    assert sorted(chain.from_iterable(found)) == list(range(ROWS))
    torn = all_folds(make, {"group": group}, folds=4)
    assert sum(len(set(group[rows].tolist())) for rows in torn) > 11, "single rows are dealt unless groups are asked for"
    data = make({"group": group}, val_by="group", folds=4, val_fraction=0.3)
    parts = [set(group[rows].tolist()) for rows in (fold_rows(data), data.split.val, data.split.train)]
    assert sum(map(len, parts)) == 11


# ---- trusted rows of a file


def test_trusted_rows_of_a_file_leave_out_the_fold(make: Any, tmp_path: Path) -> None:
    named = [row for c in range(4) for row in np.flatnonzero(c == TRUTH)[:5].tolist()]
    file = write_table(tmp_path / "t.csv", ["row", "label"], [[str(row), str(TRUTH[row])] for row in named])
    met = 0
    for fold in range(FOLDS):
        data = make(fold=fold, trusted_labels=file)
        test, rows = set(fold_rows(data)), data.info.trusted_rows.tolist()
        assert sorted(rows) == sorted(set(named) - test)
        met += len(named) - len(rows)
        least = min(np.bincount(TRUTH[rows]))
        assert TRUTH[rows[: 4 * least]].tolist() == list(range(4)) * least, "the classes take turns"
    assert met == len(named)


def test_a_class_whose_trusted_rows_are_all_in_the_fold_is_named(make: Any, tmp_path: Path) -> None:
    rows = [int(np.flatnonzero(c == TRUTH)[0]) for c in range(4)]
    fold = int(deal_folds(torch.from_numpy(TRUTH), FOLDS, 0)[rows[2]])
    file = write_table(tmp_path / "t.csv", ["row", "label"], [[str(row), str(c)] for c, row in enumerate(rows)])
    with pytest.raises(ValueError, match=r"trusted_labels: all rows of the class .*2.* are in the fold that is the test set"):
        make(fold=fold, trusted_labels=file)


# ---- files, checkpoints


def test_images_of_the_fold_are_opened_and_named(tmp_path: Path) -> None:
    write_folders(tmp_path / "photos", each=4)
    data = ImageFolder(str(tmp_path / "photos"), folds=2, fold=1, load="files", size=8, batch_size=4)
    data.setup()
    (batch,) = data.test_dataloader()["test"]
    names = data.source.test_names
    assert names is not None
    assert [names[row].startswith("dog") for row in batch.index.tolist()] == batch.target.bool().tolist()
    assert sorted(batch.target.tolist()) == [0, 0, 1, 1]
    assert not {row for each in train_batches(data) for row in each.index.tolist()} & set(batch.index.tolist())
    data.teardown()


def test_a_bad_input_of_the_fold_is_named_as_a_training_sample(make: Any) -> None:
    data = make(fold=1)
    row = fold_rows(data)[2]
    data.source.train.values[row] = torch.nan
    assert row in fold_rows(data)
    with pytest.raises(ValueError, match=f"the input of training sample {row} is nan or infinite"):
        data.refuse_bad_inputs("test")


def test_a_checkpoint_of_another_fold_is_refused(make: Any) -> None:
    first, again, other = (data_stamp(make(fold=fold).info) for fold in (0, 0, 1))
    assert check_data_stamp(first, again) == []
    with pytest.raises(ValueError, match="trained on other labels or rows"):
        check_data_stamp(first, other)


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 1}, "folds must be at least 2, or 0 for the test set of the data, got 1"),
        ({"folds": -3}, "folds must be at least 2, or 0 for the test set of the data, got -3"),
        ({"folds": 5, "fold": 5}, r"fold must be in 0\.\.4 with folds=5, got 5"),
        ({"folds": 5, "fold": -1}, r"fold must be in 0\.\.4 with folds=5, got -1"),
        ({"fold": 1}, "fold must be 0 without folds, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused_without_data(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Digits(**arguments)


def test_data_with_test_rows_has_no_folds() -> None:
    with pytest.raises(ValueError, match=r"this data has 359 test rows of its own; leave folds out, or give data without"):
        Digits(folds=5).setup()


def test_more_folds_than_there_are_rows_or_wholes_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="folds=48, but there are 47 rows; choose at most that many"):
        make(folds=48)
    with pytest.raises(ValueError, match="folds=17, but there are 16 clips or groups, which stay whole"):
        make(ROWS_OF_CLIPS, folds=17)
    with pytest.raises(ValueError, match="val_by='group' needs groups, and this data has none"):
        make(val_by="group")
