from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisylab.metrics import mixture_histogram, mixture_metrics, mixture_record
from noisylab.selection.mixture import Mixture
from noisylab.selection.mixture_fit import MixtureFit

MIXTURE = Mixture(means=(0.125, 0.75), variances=(0.01, 0.04), weights=(0.625, 0.375), converged=True, iterations=7)
VALUES = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.0])
RIGHT = torch.tensor([True, True, False, False, False])
WRONG = torch.tensor([False, False, True, True, False])  # nobody knows of the last one


def _fit(values: Tensor = VALUES) -> MixtureFit:
    return MixtureFit(torch.arange(len(values)), values, MIXTURE)


def _slow_histogram(values: Tensor, mask: Tensor, bins: int) -> list[int]:
    counts = [0] * bins
    for value, counted in zip(values.tolist(), mask.tolist(), strict=True):
        if counted:
            place = next((b for b in range(bins) if b / bins <= value < (b + 1) / bins), bins - 1)
            counts[place] += 1
    return counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [1, 10, 64])
def test_histogram_agrees_with_a_loop_over_samples_and_bins(dtype: torch.dtype, bins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    edges = torch.arange(65, dtype=dtype) / 64  # every edge of 64 bins, the first and the last of any
    values = torch.cat([torch.rand(500, generator=generator, dtype=dtype), edges])
    kind = torch.randint(3, (len(values),), generator=generator)
    found = mixture_histogram(values, kind == 0, kind == 1, bins)
    assert found == {
        "right": _slow_histogram(values, kind == 0, bins),
        "wrong": _slow_histogram(values, kind == 1, bins),
    }


def test_bins_sum_to_the_rows_of_known_truth() -> None:
    found = mixture_histogram(VALUES, RIGHT, WRONG)
    assert {name: (len(counts), sum(counts)) for name, counts in found.items()} == {"right": (64, 2), "wrong": (64, 2)}
    assert [place for place, count in enumerate(found["right"]) if count] == [6, 25]  # 6.4 and 25.6
    assert [place for place, count in enumerate(found["wrong"]) if count] == [22, 51]  # 22.4 and 51.2


def test_without_any_known_truth_all_rows_are_counted_as_unknown() -> None:
    none = torch.zeros(5, dtype=torch.bool)
    found = mixture_histogram(VALUES, none, none)
    assert list(found) == ["unknown"] and sum(found["unknown"]) == 5
    assert found["unknown"] == _slow_histogram(VALUES, ~none, 64)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_a_value_outside_the_unit_interval_is_named(value: float) -> None:
    values = torch.tensor([0.5, 0.5, value, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"values\[2\] is .*normalized losses"):
        mixture_histogram(values, RIGHT, WRONG)


def test_masks_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"right \(4,\).*differ in shape"):
        mixture_histogram(VALUES, RIGHT[:4], WRONG)


def test_a_record_holds_plain_values_only() -> None:
    found = mixture_record(3, _fit(), RIGHT, WRONG, bins=2)
    assert found == {
        "epoch": 3,
        "histogram": {"right": [2, 0], "wrong": [1, 1]},
        "means": [0.125, 0.75],
        "variances": [0.01, 0.04],
        "weights": [0.625, 0.375],
        "converged": True,
        "iterations": 7,
    }
    assert type(found["converged"]) is bool and all(type(count) is int for count in found["histogram"]["right"])


def test_figures_are_those_of_the_components_and_of_all_pairs_of_labels() -> None:
    found = mixture_metrics(_fit(), RIGHT, WRONG)
    assert found == {"low_mean": 0.125, "high_mean": 0.75, "low_weight": 0.625, "auroc": 0.75}  # 3 of 4 pairs in order


def test_the_auroc_needs_known_truth_and_both_kinds() -> None:
    none = torch.zeros(5, dtype=torch.bool)
    assert "auroc" not in mixture_metrics(_fit(), none, none)
    assert math.isnan(mixture_metrics(_fit(), RIGHT, none)["auroc"])
