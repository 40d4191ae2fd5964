"""What is said of a method's arguments, wherever it is asked: signature, help, parser."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from helpers.packaged import method_classes
from jsonargparse import ArgumentParser

from noisylab.arguments import argument_lines, arguments
from noisylab.cli.describe import describe
from noisylab.methods import IEG, IEGDivideMix, JoCoR, NoisyLabelMethod


@pytest.mark.parametrize("cls", method_classes())
def test_every_argument_of_a_method_has_a_text(cls: type[NoisyLabelMethod]) -> None:
    assert [name for name, _, text in argument_lines(cls) if not text] == []


@pytest.mark.parametrize("cls", method_classes())
def test_the_signature_and_the_parser_know_the_arguments_of_parents_too(cls: type[NoisyLabelMethod]) -> None:
    expected = arguments(cls)
    shown = inspect.signature(cls).parameters
    assert list(shown) == list(expected)
    parser = ArgumentParser()
    parser.add_class_arguments(cls, "method", fail_untyped=False)
    parsed = {key.removeprefix("method."): value for key, value in parser.get_defaults().items() if key != "method"}
    assert {name.partition(".")[0] for name in parsed} == expected.keys()
    plain = {name: a.default for name, a in expected.items() if isinstance(a.default, bool | int | float | str)}
    assert {name: parsed[name] for name in plain} == plain


def test_a_child_repeats_none_of_its_parents_arguments() -> None:
    own = inspect.signature(IEGDivideMix.__init__).parameters
    assert list(own) == ["self", "num_classes", "network", "exchange", "inner_scale", "prior_penalty", "ieg"]
    assert set(arguments(IEG)) < set(arguments(IEGDivideMix)) and len(arguments(IEGDivideMix)) == 27


def test_help_shows_an_inherited_argument_with_range_default_and_text() -> None:
    lines = describe("IEGDivideMix").splitlines()
    place = lines.index("  meta_momentum: a fraction in [0, 1); 0.9 by default")
    assert lines[place + 1].strip().startswith("mu")


def test_what_a_method_gives_to_its_parent_cannot_be_set(network: Any = None) -> None:
    assert "clip_norm" not in arguments(JoCoR)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'clip_norm'"):
        JoCoR(3, network, clip_norm=1.0)
