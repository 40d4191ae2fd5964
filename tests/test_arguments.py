"""Constructor arguments: declared ranges, and the arguments of parents."""

from __future__ import annotations

import inspect
import math
from typing import Annotated, Any, Literal

import pytest

from noisylab.arguments import (
    AtLeastOne,
    Count,
    Finite,
    Fraction,
    FractionBelowOne,
    Limit,
    NonNegative,
    Positive,
    Range,
    argument_lines,
    argument_texts,
    arguments,
    check_arguments,
    signature,
    split_docstring,
    type_text,
)


class Parent:
    """The parent.

    Args:
        size: how large.
        share: how much,
            of what.
        mode: either.
    """

    def __init__(
        self,
        size: Count,
        share: FractionBelowOne | Literal["auto"] = 0.5,
        mode: Literal["a", "b"] = "a",
        free: Any = None,
        limit: Limit = None,
    ) -> None:
        self.given = size, share, mode, free, limit


class Child(Parent):
    """The child.

    Args:
        size: of the child.
        own: a number of its own.
        **parent: see `Parent`.
    """

    def __init__(self, size: Count, own: Positive = 1.0, **parent: Any) -> None:
        super().__init__(size, mode="b", **parent)
        self.own = own


class Closed(Child):
    """A grandchild with one argument."""

    def __init__(self, own: Positive = 2.0) -> None:
        super().__init__(3, own)


@pytest.mark.parametrize(
    ("hint", "taken", "refused"),
    [
        (Fraction, [0, 0.5, 1.0], [-0.1, 1.1, math.nan, "x", None, True]),
        (FractionBelowOne, [0.0, 0.999], [1, 1.0, -1e-9]),
        (Positive, [1e-9, 7], [0.0, -1.0, math.inf, math.nan]),
        (NonNegative, [0, 2.5], [-1e-9, math.inf]),
        (Finite, [-3.5, 0], [math.inf, -math.inf, math.nan]),
        (Count, [0, 5], [-1, 2.0, True]),
        (AtLeastOne, [1, 5], [0, 1.5]),
        (Limit, [None, 0.1], [0, -1.0, math.inf]),
        (Annotated[float, Range(0, 1, "(]")], [1e-9, 1], [0.0, 1.1]),
        (FractionBelowOne | Literal["auto"], ["auto", 0.3], ["other", 1.0, None]),
    ],
)
def test_a_range_takes_what_it_says(hint: Any, taken: list[Any], refused: list[Any]) -> None:
    class Holder:
        def __init__(self, value: Any) -> None: ...

    Holder.__init__.__annotations__["value"] = hint
    for value in taken:
        check_arguments(Holder, {"value": value})
    for value in refused:
        with pytest.raises(ValueError, match=r"^value must be "):
            check_arguments(Holder, {"value": value})


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Fraction, "a fraction in [0, 1]"),
        (Annotated[float, Range(0, 1, "()")], "a fraction in (0, 1)"),
        (Annotated[float, Range(-1, 2)], "a number in [-1, 2]"),
        (Positive | None, "a positive number, or None"),
        (Limit, "a positive number, or None for no limit"),
        (NonNegative, "a number of 0 or more"),
        (Finite, "a finite number"),
        (Count, "a whole number of 0 or more"),
        (AtLeastOne, "a whole number of at least 1"),
        (Literal["a", "b"], "'a' or 'b'"),
        (Literal["a", "b", "c"], "one of 'a', 'b', 'c'"),
        (Positive | Literal["dynamic"], "a positive number or 'dynamic'"),
        (list[float] | None, "list[float], or None"),
    ],
)
def test_a_range_is_said_in_words(hint: Any, text: str) -> None:
    assert type_text(hint) == text


def test_a_value_out_of_range_is_refused_by_name_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"^share must be a fraction in \[0, 1\) or 'auto', got 1.5$"):
        check_arguments(Child, {"size": 1, "share": 1.5})
    with pytest.raises(ValueError, match=r"^own must be a positive number, got 0$"):
        check_arguments(Child, {"size": 1, "own": 0})
    check_arguments(Child, {"free": object(), "unknown": -1})


def test_a_child_takes_its_own_arguments_and_those_it_passes_on() -> None:
    found = arguments(Child)
    assert list(found) == ["size", "own", "share", "free", "limit"], "the child itself gives the mode"
    assert found["size"].required and found["own"].default == 1.0 and found["share"].default == 0.5
    assert found["own"].hint is float and type_text(found["own"].declared) == "a positive number"
    assert Child(1, share=0.25).given == (1, 0.25, "b", None, None)
    assert list(arguments(Closed)) == ["own"] and arguments(Closed)["own"].default == 2.0


def test_the_signature_names_what_can_be_given() -> None:
    made = signature(Child)
    assert list(made.parameters) == ["size", "own", "share", "free", "limit"]
    kinds = {name: parameter.kind for name, parameter in made.parameters.items()}
    assert kinds["own"] is inspect.Parameter.POSITIONAL_OR_KEYWORD and kinds["share"] is inspect.Parameter.KEYWORD_ONLY


def test_texts_are_those_of_the_nearest_class_that_has_one() -> None:
    assert argument_texts(Child) == {"size": "of the child.", "own": "a number of its own.", "share": "how much, of what."}
    rows = {name: (what, text) for name, what, text in argument_lines(Child, leave_out=["size"])}
    assert rows["share"] == ("a fraction in [0, 1) or 'auto'; 0.5 by default", "how much, of what.")
    assert rows["free"] == ("anything; None by default", "") and "size" not in rows


def test_a_docstring_is_split_around_its_arguments() -> None:
    text = "One.\n\n    Args:\n        a: of a.\n            More.\n\n    Example:\n        >>> 1\n        1\n    "
    assert split_docstring(text) == ("One.", "a: of a.\n    More.", "Example:\n    >>> 1\n    1")
    assert split_docstring("One.") == ("One.", "", "")
