"""How a search is written, and what Optuna makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from noisylab.cli.errors import UserError
from noisylab.cli.sweeps.space import Dimension, dimension


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("log:1e-4..1e-1", FloatDistribution(1e-4, 1e-1, log=True)),
        ("-1..2.5", FloatDistribution(-1.0, 2.5)),
        ("0..1/0.25", FloatDistribution(0.0, 1.0, step=0.25)),
        ("int:1..8", IntDistribution(1, 8)),
        ("int:8..64/8", IntDistribution(8, 64, step=8)),
        ("int:log:1..64", IntDistribution(1, 64, log=True)),
        ("log:int:1..64", IntDistribution(1, 64, log=True)),
        ("1,3,7", CategoricalDistribution(("1", "3", "7"))),
        ("[8,8],[16]", CategoricalDistribution(("[8,8]", "[16]"))),
        ("SGD, Adam", CategoricalDistribution(("SGD", "Adam"))),
        ({"low": "1e-4", "high": 0.1, "log": True}, FloatDistribution(1e-4, 1e-1, log=True)),
        ({"low": 1, "high": 9, "int": True, "step": 2}, IntDistribution(1, 9, step=2)),
        ({"choices": [1, None, True, [2, 3]]}, CategoricalDistribution(("1", "null", "true", "[2, 3]"))),
        ([0.1, 0.2], CategoricalDistribution(("0.1", "0.2"))),
    ],
)
def test_every_form_is_read_and_written_back(written: Any, wanted: Any) -> None:
    found = dimension("model.x", written)
    assert found.distribution() == wanted
    assert dimension("model.x", found.record()) == found


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("5", "neither a range nor choices"),
        ("1..x", "neither a range nor choices"),
        ("log:1,2", "neither a range nor choices"),
        ("2..1", "the first end of a range must be below the second"),
        ("log:0..1", "a log scale needs ends above 0"),
        ("log:1..9/2", "steps and a log scale exclude each other"),
        ("0..1/0.3", "the steps do not end at 1"),
        ("int:1..2.5", "int asks for whole numbers, got 2.5"),
        ("1,1", "'1' is there twice"),
        ("1,,2", "a choice is empty; write null for none"),
        ([3], "one choice is nothing to search"),
        ({"low": 1}, "high is missing"),
        ({"low": 1, "high": 2, "lgo": True}, "'lgo' is not known"),
        ({"low": 1, "high": "much"}, "expected a number, got 'much'"),
        ({"low": 1, "high": 2, "log": 1}, "log is true or false, got 1"),
        ({"choices": [1, 2], "low": 0}, "choices is a list, and stands alone"),
    ],
)
def test_what_is_no_search_is_refused(written: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        dimension("model.x", written)
    assert message in str(refused.value)
    assert "model.x" in str(refused.value)


@pytest.mark.parametrize("value", [1e-05, 0.1 + 0.2, 123456789.12345679, 2.0])
def test_a_number_is_read_back_as_it_was_drawn(value: float) -> None:
    assert float(Dimension("x", low=0.0, high=1e9).text(value)) == value


@pytest.mark.parametrize(
    ("written", "value", "wanted"),
    [
        ("0..1", 0.5, 0.5),
        ("0..1", 2, None),
        ("0..1/0.25", 0.75, 0.75),
        ("0..1/0.25", 0.7, None),
        ("int:1..4", 3, 3),
        ("int:1..4", True, None),
        ("0..1", None, None),
        ("1,3,7", 3.0, "3"),
        ("1,3,7", 4, None),
        ("null,3", None, "null"),
        ("SGD,Adam", "Adam", "Adam"),
    ],
)
def test_the_values_of_a_recipe_are_found_among_those_searched(written: str, value: Any, wanted: Any) -> None:
    assert dimension("model.x", written).parameter(value) == wanted
