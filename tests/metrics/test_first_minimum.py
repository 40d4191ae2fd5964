"""The first minimum of a smoothed curve."""

from __future__ import annotations

import math

import pytest

from noisylab.metrics import first_minimum

CHANGED = [900, 620, 480, 500, 430, 410, 450, 470, 520, 500, 560]  # of epochs 2 to 12, counted from 1


@pytest.mark.parametrize(
    ("window", "patience", "minimum", "stop"), [(1, 1, 4, 5), (1, 2, 7, 9), (3, 1, 8, 9), (3, 3, 8, 11), (3, 5, 8, None)]
)
def test_the_minimum_and_the_epoch_that_settles_it(window: int, patience: int, minimum: int, stop: int | None) -> None:
    found = first_minimum(CHANGED, window, patience)
    assert found.place is not None
    assert (found.place + 2, None if found.stop is None else found.stop + 2) == (minimum, stop)


def test_the_trailing_means() -> None:
    smoothed = first_minimum(CHANGED, 3).smoothed
    assert len(smoothed) == len(CHANGED) and all(math.isnan(value) for value in smoothed[:2])
    assert smoothed[2:8] == pytest.approx([2000 / 3, 1600 / 3, 470, 1340 / 3, 430, 1330 / 3])


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("patience", [1, 2])
def test_a_curve_that_grows_by_one_value_a_time_settles_once(window: int, patience: int) -> None:
    whole = first_minimum(CHANGED, window, patience)
    assert whole.stop is not None
    for length in range(len(CHANGED) + 1):
        part = first_minimum(CHANGED[:length], window, patience)
        assert part.stop == (whole.stop if length > whole.stop else None)
        if length > whole.stop:
            assert part.place == whole.place


def test_equal_means_do_not_move_the_minimum() -> None:
    assert first_minimum([3, 1, 2, 3, 1, 2], window=3, patience=9).place == 2
    assert first_minimum([0.1, 0.2, 0.3, 0.1], window=3, patience=9).place == 2


def test_weights_make_a_mean_over_samples() -> None:
    found = first_minimum([10, 0, 30], window=2, weights=[10, 30, 60])
    assert found.smoothed[1:] == (10 / 40, 30 / 90)
    assert first_minimum(CHANGED, 3, weights=[50] * len(CHANGED)).place == first_minimum(CHANGED, 3).place


def test_without_a_full_window_there_is_none() -> None:
    for values in ([], [5.0, 4.0]):
        found = first_minimum(values, window=3)
        assert found.place is None and found.stop is None and len(found.smoothed) == len(values)


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("window", 2.5), ("patience", 0), ("patience", True)])
def test_a_window_and_a_patience_are_whole_numbers_above_zero(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1, got {value}"):
        first_minimum([1.0], **{name: value})  # type: ignore[arg-type]


def test_weights_belong_to_values() -> None:
    with pytest.raises(ValueError, match="weights must be as many as values, 2, got 1"):
        first_minimum([1, 2], weights=[1])
