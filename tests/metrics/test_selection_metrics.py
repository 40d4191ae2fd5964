from __future__ import annotations

import math

import pytest
import torch

from noisylab.metrics import selection_metrics

LOSSES = torch.tensor([0.1, 0.4, 0.35, 0.8])
CLEAN = torch.tensor([True, True, False, False])


def test_selection_of_the_two_smallest_losses() -> None:
    found = selection_metrics(CLEAN, mask=LOSSES < 0.375, score=-LOSSES)
    assert found == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "size": 0.5, "gain": 0.0, "auroc": 0.75})


def test_selection_against_counts() -> None:
    clean = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0], dtype=torch.bool)
    mask = torch.tensor([1, 1, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    found = selection_metrics(clean, mask=mask)
    assert found == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "size": 3 / 8, "gain": 2 / 3 - 3 / 8})


def test_nothing_selected_has_no_precision() -> None:
    found = selection_metrics(CLEAN, mask=torch.zeros(4, dtype=torch.bool))
    assert math.isnan(found["precision"]) and math.isnan(found["f1"]) and math.isnan(found["gain"])
    assert found["recall"] == 0 and found["size"] == 0


def test_nothing_clean_has_no_recall() -> None:
    found = selection_metrics(torch.zeros(4, dtype=torch.bool), mask=CLEAN, score=LOSSES)
    assert math.isnan(found["recall"]) and math.isnan(found["auroc"]) and found["precision"] == 0


def test_selection_of_wrong_labels_alone_has_an_f1_of_zero() -> None:
    assert selection_metrics(CLEAN, mask=~CLEAN)["f1"] == 0


def test_scores_may_be_counts() -> None:
    assert selection_metrics(CLEAN, score=torch.tensor([9, 8, 1, 0])) == {"auroc": 1.0}
