from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from noisylab.metrics import label_issue_metrics


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", [0, 1])
def test_ranking_and_flag_agree_with_scikit_learn_with_ties(levels: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    given, suggested, clean = draw.integers(0, 4, (3, 257))
    clean = np.where(draw.random(257) < 0.5, given, clean)
    wrong = given != clean
    score = draw.integers(0, levels, 257) / levels + 0.25 * wrong
    flag = score > 0.6
    found = label_issue_metrics(*(torch.from_numpy(x) for x in (wrong, score, flag, given, suggested, clean)))
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, score), abs=1e-6)
    assert found["average_precision"] == pytest.approx(average_precision_score(wrong, score), abs=1e-12)
    assert found["f1"] == pytest.approx(f1_score(wrong, flag))
    assert found["precision"] == pytest.approx(precision_score(wrong, flag))
    assert found["recall"] == pytest.approx(recall_score(wrong, flag))
    assert found["flagged"] == pytest.approx(flag.mean())
    first = np.argsort(-score, kind="stable")
    assert found["precision_at_k"] == pytest.approx(wrong[first[: wrong.sum()]].mean())
    assert found["precision_at_100"] == pytest.approx(wrong[first[:100]].mean())
    fixed = given.copy()
    for row in first[:13]:  # 5 % of 257 is 12.85
        if flag[row]:
            fixed[row] = suggested[row]
    assert found["label_accuracy_top5"] == pytest.approx((fixed == clean).mean())
    assert found["label_accuracy_fixed"] == pytest.approx((np.where(flag, suggested, given) == clean).mean())


def test_six_rows_counted_by_hand() -> None:
    given = torch.tensor([0, 1, 2, 0, 1, 2])
    clean = torch.tensor([1, 1, 0, 0, 1, 1])  # rows 0, 2 and 5 are wrong
    suggested = torch.tensor([1, 0, 0, 2, 1, 2])
    score = torch.tensor([0.9, 0.8, 0.7, 0.4, 0.2, 0.1])
    flag = torch.tensor([True, True, True, False, False, False])
    found = label_issue_metrics(given != clean, score, flag, given, suggested, clean)
    assert found == pytest.approx(
        {
            "auroc": 5 / 9,  # of nine pairs: 3 + 2 + 0
            "average_precision": (1 / 1 + 2 / 3 + 3 / 6) / 3,
            "f1": 2 / 3,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "flagged": 0.5,
            "precision_at_k": 2 / 3,
            "precision_at_100": 0.5,
            "label_accuracy": 3 / 6,
            "label_accuracy_top5": 4 / 6,  # 0.3 rows is one row: row 0 is put right
            "label_accuracy_fixed": 4 / 6,  # rows 0 and 2 are put right, row 1 is spoilt
        }
    )


def test_a_row_that_is_not_flagged_keeps_its_label() -> None:
    given, clean, suggested = torch.tensor([0, 0]), torch.tensor([1, 0]), torch.tensor([1, 1])
    flag = torch.zeros(2, dtype=torch.bool)
    found = label_issue_metrics(given != clean, torch.tensor([0.4, 0.3]), flag, given, suggested, clean)
    assert found["label_accuracy_top5"] == found["label_accuracy_fixed"] == found["label_accuracy"] == 0.5
    assert math.isnan(found["precision"]) and found["recall"] == found["f1"] == found["flagged"] == 0


def test_an_open_set_row_is_wrong_and_never_becomes_right() -> None:
    given, clean, suggested = torch.tensor([0, 1]), torch.tensor([2, 1]), torch.tensor([1, 1])
    found = label_issue_metrics(given != clean, torch.tensor([0.9, 0.1]), given != suggested, given, suggested, clean)
    assert found["auroc"] == found["precision"] == 1
    assert found["label_accuracy"] == found["label_accuracy_fixed"] == 0.5


def test_without_wrong_labels_there_is_nothing_to_find() -> None:
    same, score = torch.tensor([0, 1, 0]), torch.tensor([0.9, 0.5, 0.1])
    found = label_issue_metrics(torch.zeros(3, dtype=torch.bool), score, score > 0.7, same, 1 - same, same)
    assert all(math.isnan(found[name]) for name in ("auroc", "average_precision", "recall", "precision_at_k"))
    assert found["precision"] == found["f1"] == found["precision_at_100"] == 0
    assert found["label_accuracy"] == 1 and found["label_accuracy_fixed"] == pytest.approx(2 / 3)
    silent = label_issue_metrics(torch.zeros(3, dtype=torch.bool), score, score > 1, same, same, same)
    assert math.isnan(silent["f1"])


def test_with_wrong_labels_only_every_row_is_a_hit() -> None:
    given, score = torch.tensor([0, 1, 0]), torch.tensor([0.9, 0.5, 0.1])
    found = label_issue_metrics(torch.ones(3, dtype=torch.bool), score, score > 0.7, given, 1 - given, 1 - given)
    assert math.isnan(found["auroc"])
    assert found["average_precision"] == found["precision"] == found["precision_at_k"] == found["precision_at_100"] == 1
    assert found["recall"] == found["label_accuracy_fixed"] == pytest.approx(1 / 3) and found["label_accuracy"] == 0


def test_of_no_rows_everything_is_unknown() -> None:
    none, empty = torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    found = label_issue_metrics(none, torch.zeros(0), none, empty, empty, empty)
    assert len(found) == 11 and all(math.isnan(value) for value in found.values())
