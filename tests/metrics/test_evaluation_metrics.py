from __future__ import annotations

import math

import pytest
import torch

from noisylab.metrics import ClipProbabilities, SplitConfusions, TopFive, accuracies, accuracy, balanced_accuracy

CONFUSION = torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])


def test_accuracy_is_the_share_on_the_diagonal() -> None:
    assert accuracy(CONFUSION) == 5 / 6
    assert math.isnan(accuracy(torch.zeros(3, 3, dtype=torch.int64)))


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_present() -> None:
    assert balanced_accuracy(CONFUSION) == pytest.approx((3 / 4 + 1) / 2)
    assert math.isnan(balanced_accuracy(torch.zeros(3, 3, dtype=torch.int64)))


def test_counts_over_batches_and_predictors_leave_out_unknown_labels() -> None:
    confusions = SplitConfusions(3)
    first, second = torch.eye(3)[[0, 1, 2, 2]], torch.eye(3)[[1, 1, 1, 1]]
    target = torch.tensor([0, 1, 1, -1])
    for part in (slice(0, 1), slice(1, 4)):
        confusions.update("val", {"a": first[part], "b": second[part]}, target[part])
    confusions.update("test", {"a": first}, torch.tensor([0, 1, 2, 2]))
    found = confusions.compute()
    assert found["val", "a"].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert found["val", "b"].tolist() == [[0, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert accuracy(found["test", "a"]) == 1.0
    assert list(confusions.state_dict()) == []
    confusions.reset()
    assert confusions.compute() == {}


def test_names_of_the_logged_accuracies() -> None:
    one = {("val", "network"): CONFUSION}
    assert accuracies(one, "network") == {"val/acc": 5 / 6, "val/balanced_acc": pytest.approx(0.875)}
    two = {("test", "robust"): CONFUSION, ("test", "standard"): CONFUSION.T}
    found = accuracies(two, "robust")
    assert set(found) == {"test/acc", "test/balanced_acc", "test/acc_robust", "test/acc_standard"}
    assert found["test/acc"] == found["test/acc_robust"] == 5 / 6


def test_the_label_among_five_counts_as_a_loop_over_rows_says() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (60, 8), generator=draw).float()  # with many equal ones
    target = torch.randint(-1, 8, (60,), generator=draw)
    right = total = 0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        first = sorted(range(8), key=lambda place: (-row[place], place))[:5]
        right, total = right + (label in first), total + (label >= 0)
    five = TopFive()
    for part in (slice(0, 7), slice(7, 60)):
        five.update("test", logits[part], target[part])
    five.update("val", logits, torch.full((60,), -1))
    found = five.compute()
    assert found["test/top5"] == right / total and 0.5 < right / total < 0.9
    assert math.isnan(found["val/top5"]) and five.compute() == {}


def test_five_classes_have_no_top_five_and_what_is_not_a_number_is_never_right() -> None:
    five = TopFive()
    five.update("val", torch.eye(5), torch.arange(5))
    five.update("test", torch.full((3, 9), math.nan), torch.tensor([0, 4, 8]))
    assert five.compute() == {"test/top5": 0.0}


# ---- clips: rows 0, 2 and 5 are clip 7, row 1 is clip 9, rows 3 and 4 are clip 4

CLIP = torch.tensor([7, 9, 7, 4, 4, 7])
PROBS = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.3, 0.6, 0.1], [0.4, 0.6, 0.0], [0.5, 0.2, 0.3], [0.3, 0.6, 0.1]])
TARGET = torch.tensor([0, 1, 0, 1, 1, 0])
"""Means of the clips: 7 (0.5, 0.43, 0.07), right though two of its three rows are wrong; 9 wrong; 4 (0.45, 0.4, 0.15), wrong."""


def _update(clips: ClipProbabilities, rows: list[int], target: torch.Tensor = TARGET) -> None:
    index = torch.tensor(rows)
    clips.update("test", PROBS[index], target[index], index, CLIP)


def test_a_clip_is_judged_by_the_mean_probability_of_its_rows() -> None:
    for batches in ([[0, 1, 2, 3, 4, 5]], [[5, 1], [4], [0, 2, 3]]):
        clips = ClipProbabilities()
        for rows in batches:
            _update(clips, rows)
        assert clips.compute() == {"test": pytest.approx(1 / 3)}
    clips.reset()
    assert clips.compute() == {}


def test_clips_of_unknown_label_and_clips_that_were_not_seen_do_not_count() -> None:
    clips = ClipProbabilities()
    _update(clips, [0, 1, 2, 5], torch.where(CLIP == 9, -1, TARGET))
    assert clips.compute() == {"test": 1.0}
    unknown = ClipProbabilities()
    _update(unknown, [0, 1], torch.full_like(TARGET, -1))
    assert math.isnan(unknown.compute()["test"])


def test_rows_without_a_label_do_not_speak_for_their_clip() -> None:
    clips = ClipProbabilities()
    _update(clips, [0, 2, 5], torch.tensor([-1, 1, 0, 1, 1, 0]))
    assert clips.compute() == {"test": 0.0}  # without row 0 the clip is (0.3, 0.6, 0.1)


def test_splits_are_kept_apart() -> None:
    clips = ClipProbabilities()
    _update(clips, [0, 2, 5])
    clips.update("val", PROBS[[1]], torch.tensor([2]), torch.tensor([1]), CLIP)
    assert clips.compute() == {"test": 1.0, "val": 1.0}


def test_the_rows_of_two_ranks_add_up_to_the_answer_of_one() -> None:
    """Rank 1 also sees a row again that does not count, as a rank without rows of its own does."""
    first, second = ClipProbabilities(), ClipProbabilities()
    _update(first, [0, 3, 5])
    _update(second, [1, 2, 4])
    _update(second, [0], torch.full_like(TARGET, -1))
    sent: list[torch.Tensor] = []
    second.compute(lambda rows: sent.append(rows) or rows)  # type: ignore[func-returns-value]
    others = iter(sent)
    assert first.compute(lambda rows: rows + next(others)) == {"test": pytest.approx(1 / 3)}
    assert first.compute() != {"test": pytest.approx(1 / 3)}


def test_clips_add_two_names_to_the_headline() -> None:
    two = {("test", "robust"): CONFUSION, ("test", "standard"): CONFUSION.T, ("val", "robust"): CONFUSION}
    found = accuracies(two, "robust", {"test": 0.25})
    assert (found["test/acc_frame"], found["test/acc_sample"]) == (found["test/acc"], 0.25)
    assert {name for name in found if name.endswith(("_frame", "_sample"))} == {"test/acc_frame", "test/acc_sample"}
