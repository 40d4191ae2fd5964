from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from noisylab.metrics import auroc, label_groups, loss_histogram, memorization

LOSSES = torch.tensor([0.1, 0.4, 0.35, 0.8])
CLEAN = torch.tensor([True, True, False, False])


def _slow_auroc(score: Tensor, positive: Tensor) -> float:
    pairs = list(product(score[positive].tolist(), score[~positive].tolist()))
    return sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)


def test_auroc_of_four_losses() -> None:
    assert auroc(-LOSSES, CLEAN) == 0.75


def test_auroc_of_equal_scores_is_one_half() -> None:
    assert auroc(torch.ones(4), CLEAN) == 0.5


@pytest.mark.parametrize("positive", [torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)])
def test_auroc_without_one_kind_is_nan(positive: Tensor) -> None:
    assert math.isnan(auroc(LOSSES, positive))
    assert math.isnan(auroc(LOSSES[:0], positive[:0]))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_auroc_agrees_with_all_pairs_at_any_scale(scale: float) -> None:
    score, positive = torch.randint(-6, 7, (60,)).float() * scale, torch.rand(60) < 0.3
    assert auroc(score, positive) == pytest.approx(_slow_auroc(score, positive), abs=1e-6)


def test_groups_leave_out_the_unknown_and_set_the_open_set_apart() -> None:
    given = torch.tensor([0, 1, 2, 0, -1])
    clean = torch.tensor([0, 2, 7, -1, 1])
    right, wrong, outside = label_groups(given, clean, 3)
    assert right.tolist() == [True, False, False, False, False]
    assert wrong.tolist() == [False, True, False, False, False]
    assert outside.tolist() == [False, False, True, False, False]


def test_figures_of_eight_samples() -> None:
    given = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    clean = torch.tensor([0, 1, 2, 1, 2, 0, 9, -1])  # three right, three wrong, one open-set, one unknown
    pred = torch.tensor([0, 1, 0, 0, 2, 1, 0, 1])
    loss = torch.tensor([0.1, 0.2, 3.0, 0.5, 1.5, 100.0, 0.7, 0.0])
    top = torch.tensor([0.99, 0.9, 0.96, 0.951, 0.95, 0.2, 1.0, 1.0])
    found = memorization(pred=pred, loss=loss, given=given, clean=clean, num_classes=3, top_prob=top)
    assert found["clean_acc"] == pytest.approx(2 / 3)
    for name in ("noisy_as_given", "noisy_as_true", "noisy_other"):
        assert found[name] == pytest.approx(1 / 3), name
    assert found["open_as_given"] == 1.0
    assert found["clean_loss"] == pytest.approx(1.1) and found["clean_loss_median"] == pytest.approx(0.2)
    clipped = -math.log(1e-8)
    assert found["noisy_loss"] == pytest.approx((0.5 + 1.5 + clipped) / 3, rel=1e-6)
    assert found["noisy_loss_median"] == pytest.approx(1.5)
    assert found["loss_auroc"] == pytest.approx(7 / 9)  # 3.0 is above 0.5 and 1.5
    assert found["clean_confident"] == pytest.approx(2 / 3) and found["noisy_confident"] == pytest.approx(1 / 3)


def test_perfect_memorizer() -> None:
    given, clean = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 1])
    found = memorization(pred=given, loss=torch.zeros(4), given=given, clean=clean, num_classes=3)
    assert (found["clean_acc"], found["noisy_as_given"], found["noisy_as_true"], found["noisy_other"]) == (1, 1, 0, 0)


def test_without_wrong_labels_their_figures_are_nan() -> None:
    given = torch.tensor([0, 1, 2])
    found = memorization(pred=given, loss=torch.zeros(3), given=given, clean=given, num_classes=3)
    missing = {"noisy_as_given", "noisy_as_true", "noisy_other", "noisy_loss", "noisy_loss_median", "loss_auroc"}
    assert {name for name, value in found.items() if math.isnan(value)} == missing
    assert "open_as_given" not in found


def test_order_of_the_samples_does_not_matter() -> None:
    values = {"pred": torch.randint(3, (40,)), "given": torch.randint(3, (40,)), "clean": torch.randint(4, (40,))}
    values |= {"loss": torch.rand(40), "top_prob": torch.rand(40)}
    order = torch.randperm(40)
    expected = memorization(**values, num_classes=3)  # type: ignore[arg-type]
    found = memorization(**{name: value[order] for name, value in values.items()}, num_classes=3)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, nan_ok=True)


def test_histogram_counts_every_known_sample_once() -> None:
    loss = torch.cat([torch.linspace(0, 1, 199), torch.tensor([50.0])])
    right = torch.arange(200) < 120
    wrong = (torch.arange(200) >= 130) & ~right
    found = loss_histogram(loss, right, wrong, bins=10)
    assert len(found["edges"]) == 11 and found["edges"][0] == 0
    assert found["edges"][-1] <= 1.0, "the outlier does not stretch the bins"
    assert sum(found["right"]) == 120 and sum(found["wrong"]) == 70
    assert found["wrong"][-1] >= 1


def test_histogram_of_nothing_or_of_zeros_is_no_error() -> None:
    none = torch.zeros(3, dtype=torch.bool)
    assert sum(loss_histogram(torch.rand(3), none, none)["right"]) == 0
    assert sum(loss_histogram(torch.zeros(3), ~none, none)["right"]) == 3
