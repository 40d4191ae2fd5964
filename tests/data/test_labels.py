"""Classes out of labels as people write them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from noisylab.data.labels import LabelNames, in_order, twins


def test_names_that_are_numbers_are_in_the_order_of_the_numbers() -> None:
    assert in_order(["10", "9", "11", "2", "10"]) == ["2", "9", "10", "11"]
    assert in_order(["1.5", "10", "2.0", "-3"]) == ["-3", "1.5", "2.0", "10"]
    assert in_order(["01", "1", "002"]) == ["01", "1", "002"]


def test_one_name_that_is_no_number_puts_all_in_the_order_of_characters() -> None:
    assert in_order(["10", "9", "x"]) == ["10", "9", "x"]
    assert in_order(["10", "9", "1e3"]) == ["10", "1e3", "9"]


def test_numbers_as_text_and_as_numbers_give_the_same_classes() -> None:
    numbers = np.arange(24) % 12
    as_text, as_numbers = (LabelNames.of(labels, None, "y") for labels in (numbers.astype(str), numbers))
    assert as_text.names == as_numbers.names
    assert as_text.numbers(numbers.astype(str), "y").tolist() == as_numbers.numbers(numbers, "y").tolist() == numbers.tolist()


@pytest.mark.parametrize(
    "names",
    [
        ("Shoes", "shoes"),
        ("cat ", "cat"),
        ("cat\u200b", "cat"),
        ("\ufeffcat", "cat"),
        ("caf\u00e9", "cafe\u0301"),
        ("1", "1.0"),
        ("1", "01"),
        ("1000", "1e3"),
        ("t-shirt", "t_shirt", "t shirt"),
        ("traffic\u00a0light", "traffic light"),
        ("traffic  light", "traffic light"),
        ("cat", "\u0441at"),  # the first letter of the second is Cyrillic
        ("dog's", "dog\u2019s"),
        ("\uff21\uff22", "AB"),
    ],
)
def test_names_that_look_alike_are_twins(names: tuple[str, ...]) -> None:
    assert twins(["zebra", *names]) == [tuple(sorted(names))]


@pytest.mark.parametrize(
    "names",
    [
        ("a", "A"),
        ("cat", "cats"),
        ("1", "-1"),
        ("1", "10"),
        ("+", "-"),
        ("c", "c++"),
        ("nine", "nine9"),
        ("1.5", "15"),
        ("9223372036854775808", "9223372036854775809"),
    ],
)
def test_names_that_differ_to_the_eye_are_none(names: tuple[str, ...]) -> None:
    assert twins(names) == []


def test_classes_that_are_probably_one_are_named_and_kept_apart() -> None:
    with pytest.warns(UserWarning, match=r"y in a\.npz: the classes 'Shoes', 'shoes' are probably the same"):
        classes = LabelNames.of(np.array(["Shoes", "shoes", "hat"]), None, "y in a.npz")
    assert classes.names == ("Shoes", "hat", "shoes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LabelNames.of(np.array(["shoes", "hat"]), None, "y")
