from __future__ import annotations

import math

import pytest
import torch

from noisylab.metrics import corrected_metrics

#                        right, right, right, wrong, wrong, wrong, open, open, unknown, no label
CLEAN = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, -1, 2])
GIVEN = torch.tensor([0, 1, 2, 1, 2, 0, 0, 1, 2, 0])
CORRECTED = torch.tensor([0, 1, 0, 0, 2, 1, 0, 2, 0, -1])


def test_shares_of_right_labels_and_changes_by_hand() -> None:
    expected = {"right": 3 / 8, "right_clean": 2 / 3, "right_noisy": 1 / 3, "flips": 4 / 8, "flips_right": 1 / 4}
    assert corrected_metrics(CORRECTED, GIVEN, CLEAN, 3) == pytest.approx(expected)


def test_an_open_set_sample_has_no_right_label_even_where_the_class_has_a_number() -> None:
    found = corrected_metrics(torch.tensor([3]), torch.tensor([0]), torch.tensor([3]), 3)
    assert found["right"] == 0 and found["flips"] == 1 and found["flips_right"] == 0
    assert math.isnan(found["right_clean"]) and math.isnan(found["right_noisy"])


def test_given_labels_are_no_changes() -> None:
    found = corrected_metrics(GIVEN, GIVEN, CLEAN, 3)
    assert found["flips"] == 0 and math.isnan(found["flips_right"])
    assert found["right"] == pytest.approx(3 / 9) and found["right_clean"] == 1 and found["right_noisy"] == 0


def test_without_known_truth_or_labels_every_share_is_nan() -> None:
    for corrected, clean in ((CORRECTED, torch.full((10,), -1)), (torch.full((10,), -1), CLEAN)):
        assert all(math.isnan(value) for value in corrected_metrics(corrected, GIVEN, clean, 3).values())
