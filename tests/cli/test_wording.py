"""Types and the parser's complaints, in words."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import lightning as L
import pytest
import torch

from noisylab.cli.configuration.registry import known_classes, parameters
from noisylab.cli.main import main
from noisylab.cli.wording import in_words, untyped
from noisylab.data.base import NoisyDataModule
from noisylab.losses import Criterion
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import Network
from noisylab.noise import Noise

CE = ["fit", "--config", "ce_digits.yaml", "--dry_run"]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (typing.Optional[int], "a whole number or null"),  # noqa: UP045
        (typing.Union[float, int, None], "a number or null"),  # noqa: UP007
        (float | torch.Tensor, "a number"),
        (bool | None, "true or false; or null"),
        (str | os.PathLike[str] | None, "text or a path or null"),
        (Literal["auto", "device"], "one of auto, device"),
        (Literal["mean", "none"] | None, "one of mean, none, null"),
        (Literal[64, 32] | Literal["bf16"] | None, "one of 64, 32, bf16, null"),
        (Literal["warn"] | bool | None, "'warn'; or true or false; or null"),
        (tuple[float, float], "a list of 2: a number, a number"),
        (list[int] | int, "a whole number; or a list, each item a whole number"),
        (Sequence[str] | None, "a list, each item text; or null"),
        (Mapping[str, int], "keys and values, each value a whole number"),
        (Callable[[int], Any], "a class or function, by its import path"),
        (L.Callback | None, "a class of the kind Callback or null"),
        (Any, "any value"),
    ],
)
def test_types_are_told_in_words(hint, words):
    assert in_words(hint) == words


def test_no_argument_that_a_recipe_can_set_is_told_in_pythons_words():
    hints = list(typing.get_type_hints(L.Trainer.__init__).values())
    kinds = (NoisyLabelMethod, NoisyDataModule, Noise, Network, Criterion, torch.optim.Optimizer)
    hints += [p.hint for kind in kinds for cls in known_classes(kind).values() for p in parameters(cls).values()]
    assert len(hints) > 300
    for hint in hints:
        words = in_words(hint)
        assert not any(mark in words for mark in ("typing", "Union", "Optional", "Literal", "[", "<", "None", "collections"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Expected a <class 'int'>. Got value: x", "must be a whole number, got x"),
        ("Expected a <class 'str'>", "must be text"),
        ("Expected a <class 'lightning.pytorch.Callback'>. Got value: [1]", "must be a class of the kind Callback, got [1]"),
        ("no such option", "no such option"),
        ("typing.Union[int, str] or <class 'NoneType'>", "Union[int, str] or null"),
    ],
)
def test_the_parsers_complaints_are_told_in_words(said, told):
    assert untyped(said) == told


EARLY = "{class_path: EarlyStopping, init_args: {monitor: train/loss"


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("trainer.max_epochs", "x", "allowed: a whole number or null"),
        ("trainer.precision", "7", "allowed: one of 64, 32, 16, transformer-engine,"),
        ("data.residency", "x", "allowed: one of auto, device, host"),
        ("speed.compile", "x", "allowed: true or false"),
        ("checkpoint.every_n_minutes", "x", "allowed: a number or null"),
        ("trainer.callbacks", "[1, 2]", "trainer.callbacks: 1 is not a class\n  write the name of a class, or {class_path:"),
        ("trainer.callbacks", "[null]", "trainer.callbacks: None is not a class"),
        ("trainer.callbacks", "[{a: 1}]", "trainer.callbacks: {'a': 1} names no class (no class_path)"),
        ("trainer.callbacks", "[EarlyStoping]", "'EarlyStoping' is not known\n  nearest: EarlyStopping"),
        ("trainer.callbacks", "[torch.nn.Linear]", "torch.nn.Linear is not a Callback"),
        ("trainer.callbacks", "[torch.nn.Lineal]", "torch.nn.Lineal cannot be imported"),
        ("trainer.callbacks", "EarlyStopping", "EarlyStopping needs monitor\n  write {class_path: EarlyStopping, init_args:"),
        ("trainer.callbacks", f"{EARLY}, pace: 1}}}}", "key of EarlyStopping: 'pace' is not known\n  nearest: patience"),
        ("trainer.callbacks", f"{EARLY}, patience: x}}}}", "EarlyStopping.patience: wrong value\n  given: 'x'\n  allowed: a wh"),
        ("trainer.callbacks", f"{EARLY}, mode: up}}}}", "trainer.callbacks: EarlyStopping: `mode` can be min, max, got up"),
        ("trainer.callbacks", f"[{EARLY}, mode: up}}}}]", "trainer.callbacks: EarlyStopping: `mode` can be min, max, got up"),
        ("trainer.callbacks", "[{class_path: Timer, init_args: {duration: x}}]", "Timer: `Timer(duration='x')` is not a valid"),
        ("trainer.profiler", "5", "trainer.profiler: 5 is not a class"),
        ("trainer.plugins", "foo", "trainer.plugins: 'foo' is not known"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_allowed(flag, value, told, capsys):
    assert main([*CE, f"--{flag}", value]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert not any(mark in said for mark in ("typing.", "<class", "Namespace", "Optional[", "Literal[", "Union"))


def test_a_callback_whose_package_is_missing_says_which(capsys, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.callbacks.progress.rich_progress._RICH_AVAILABLE", False)
    assert main([*CE, "--trainer.callbacks", "RichProgressBar"]) == 2
    said = capsys.readouterr().err
    assert "trainer.callbacks: RichProgressBar: `RichProgressBar` requires `rich`" in said and len(said.splitlines()) <= 2
