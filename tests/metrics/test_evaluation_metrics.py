from __future__ import annotations

import math

import pytest
import torch

from noisylab.metrics import SplitConfusions, accuracies, accuracy, balanced_accuracy

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
