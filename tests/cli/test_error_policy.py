"""What a user sees when something is wrong: one message before training, a traceback for a fault of code after it began."""

from __future__ import annotations

import collections
import io
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch

from noisylab.__main__ import main as start
from noisylab.cli import main
from noisylab.cli.errors import UserError, is_bug, message, training
from noisylab.terminal import take_any_text, visible

CE = ["fit", "--config", "ce_digits.yaml", "--data.subset", "60", "--trainer.max_epochs", "1", "--model.network.width", "4"]

OUTSIDE = """
from torch import nn

def small(num_classes, width, names=()):
    assert names == ["a", "b"]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, num_classes))
"""

METHODS = """
from noisylab.methods import CrossEntropy

class Faulty(CrossEntropy):
    def training_step(self, batch, batch_idx):
        return {}["no such key"]

class Unbuildable(CrossEntropy):
    def __init__(self, *args, **kwargs):
        raise AttributeError("no such thing")
"""


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    monkeypatch.delenv("NOISYLAB_DEBUG", raising=False)


def refused(capsys, *argv: str) -> str:
    assert main(list(argv)) == 2
    said = capsys.readouterr().err
    assert said.count("noisylab: error:") == 1 and "Traceback" not in said
    return said


# ---- each command has its own flags


@pytest.mark.parametrize("command", ["fit", "folds", "validate", "test", "predict", "compare", "recipes"])
@pytest.mark.parametrize("flag", ["images", "run", "labels", "arrays", "out", "checkpoint", "top", "crossfit", "backbone"])
def test_a_flag_of_another_command_is_refused(command, flag, capsys):
    takes = {
        "predict": ("images", "out", "checkpoint"),
        "compare": ("out",),
        "validate": ("checkpoint",),
        "test": ("checkpoint",),
    }
    if flag not in takes.get(command, ()):
        recipe = [] if command in ("compare", "recipes") else ["--config", "ce_digits.yaml"]
        assert f"--{flag} belongs to noisylab" in refused(capsys, command, *recipe, f"--{flag}", "x")


@pytest.mark.parametrize("flag", ["resume", "dry_run", "logger", "config"])
def test_compare_takes_no_flags_of_training(flag, capsys):
    assert f"--{flag} belongs to noisylab" in refused(
        capsys, "compare", "a", *([f"--{flag}"] + ["x"] * (flag in "config logger"))
    )


@pytest.mark.parametrize("argv", [("compare", "a", "--nonsense", "3"), ("recipes", "--nonsense"), ("recipes", "stray")])
def test_unknown_flags_and_stray_words_are_refused(argv, capsys):
    said = refused(capsys, *argv)
    assert "'stray'" in said or "'nonsense' is not known" in said


def test_help_for_an_unknown_command_is_a_mistake(capsys):
    assert "'fitt' is not known" in refused(capsys, "fitt", "--help")


def test_help_names_the_class_behind_it(capsys):
    assert main(["fit", "--help", "SmallCNN", "--config", "x"]) == 0
    assert capsys.readouterr().out.startswith("SmallCNN")


def test_a_flag_given_twice_must_agree(capsys):
    assert "--run_dir is given twice, as 'a' and 'b'" in refused(capsys, *CE, "--run_dir", "a", "--run_dir", "b")


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_value_is_none(value, capsys):
    assert "--run_dir needs a value" in refused(capsys, *CE, "--run_dir", value)


# ---- before training


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model.network.in_channels", "3"], ["1 channel of 8x8", "set model.network.in_channels to 1"]),
        (["--model.network", "MLP", "--model.network.in_features", "65"], ["MLP", "in_features=64"]),
        (["--trainer.accelerator", "tpu"], ["accelerator", "tpu"]),
    ],
)
def test_a_network_that_does_not_fit_is_named_and_leaves_no_folder(flags, expected, capsys):
    said = refused(capsys, *CE[:-2], *flags, "--run_dir", "r")
    assert all(part in said for part in expected), said
    assert not Path("r").exists()


def test_the_trial_changes_nothing(monkeypatch):
    """The same curves with the trial as without it."""
    assert main([*CE, "--run_dir", "with"]) == 0
    monkeypatch.setattr("noisylab.cli.commands.fit.check_networks", lambda app: None)
    assert main([*CE, "--run_dir", "without"]) == 0
    assert Path("with/metrics.csv").read_text() == Path("without/metrics.csv").read_text()


def test_a_fault_in_a_method_of_the_users_own_keeps_its_traceback_before_training_too(tmp_path, monkeypatch):
    (tmp_path / "beforehand.py").write_text(METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AttributeError, match="no such thing") as caught:
        main([*CE, "--model", "beforehand.Unbuildable", "--run_dir", "r"])
    assert "this is an error in beforehand.py, line " in caught.value.__notes__[0]
    assert not Path("r").exists()


def test_what_a_method_of_the_users_own_refuses_is_one_message(tmp_path, capsys, monkeypatch):
    (tmp_path / "refusing.py").write_text(
        METHODS.replace('raise AttributeError("no such thing")', 'raise ValueError("too deep")')
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "too deep" in refused(capsys, *CE, "--model", "refusing.Unbuildable", "--run_dir", "r")


def test_a_fault_in_a_method_keeps_its_traceback_and_says_how_to_go_on(tmp_path, monkeypatch):
    (tmp_path / "afterwards.py").write_text(METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError, match="no such key") as caught:
        main([*CE, "--model", "afterwards.Faulty", "--run_dir", "r"])
    assert "noisylab fit --run_dir r --resume" in caught.value.__notes__[0]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "bug"),
    [
        (RuntimeError("x"), True),
        (ValueError("of nobody"), True),
        (UserError("x"), False),
        (OSError("disk full"), False),
        (MemoryError(), False),
        (torch.OutOfMemoryError("x"), False),
    ],
)
def test_after_training_began_foreseen_errors_are_messages(error, bug):
    with pytest.raises(type(error)) as caught, training(lambda: True, "go on"):
        _raise(error)
    assert is_bug(caught.value) is bug


def test_before_training_an_error_within_a_library_is_a_message():
    with pytest.raises(KeyError) as caught:
        collections.ChainMap({})["x"]
    assert not is_bug(caught.value)
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    assert is_bug(caught.value), "this file is the user's own"


def test_what_noisylab_itself_refuses_in_training_is_a_message():
    from noisylab.files import clear_partials
    from noisylab.schedules import LinearDecay

    with pytest.raises(ValueError) as caught, training(lambda: True, "go on"):
        LinearDecay(torch.optim.SGD([torch.zeros(1)], lr=0.1), start=5, stop=1)
    assert not is_bug(caught.value)
    with pytest.raises(TypeError) as caught, training(lambda: True, "go on"):
        clear_partials(None)  # type: ignore[arg-type]  # a fault, met inside noisylab's own code
    assert is_bug(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (MemoryError("12 TiB"), "out of memory: 12 TiB"),
        (RecursionError("maximum depth"), "nested too deeply"),
        (ValueError("clear words"), "clear words"),
    ],
)
def test_messages_say_what_happened(error, expected):
    assert expected in message(error)


# ---- Wrap


def test_wrap_takes_arguments_from_the_command_line_and_from_its_own_config(tmp_path, monkeypatch, capsys):
    (tmp_path / "outside.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    wrapped = ["--model.network", "Wrap", "--model.network.factory", "outside.small"]
    assert main([*CE[:-2], *wrapped, "--model.network.width", "7", "--model.network.names", "[a, b]", "--run_dir", "first"]) == 0
    assert main(["fit", "--config", "first/config.yaml", "--run_dir", "second"]) == 0
    assert Path("first/metrics.csv").read_text() == Path("second/metrics.csv").read_text()
    assert Path("first/config.yaml").read_text() == Path("second/config.yaml").read_text()
    assert main(["test", "--run_dir", "second"]) == 0
    said = refused(capsys, *CE[:-2], *wrapped, "--model.network.wdth", "7", "--run_dir", "third")
    assert "missing a required argument: 'width'" in said


# ---- the terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat\x1b[2J.png", "cat\\x1b[2J.png"),
        ("caf\u00e9 \u732b\n\tx", "caf\u00e9 \u732b\n\tx"),
        ("a\rb\x07\x9b", "a\\rb\\x07\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udce9", "\\udce9"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert visible(text) == shown


def test_an_error_shows_no_control_characters(capsys):
    said = refused(capsys, "fit", "--config", "no\x1b[31msuch.yaml")
    assert "no\\x1b[31msuch.yaml" in said and "\x1b" not in said


def test_a_warning_shows_no_control_characters(monkeypatch, capsys):
    def warn(arguments):
        warnings.warn("left out: \x1b[2J.png", stacklevel=1)
        return 0

    monkeypatch.setattr(sys.modules[main.__module__], "_answer", warn)
    before = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # as outside of pytest, which keeps warnings to itself
        monkeypatch.setattr(warnings, "showwarning", lambda *shown, **_: print(warnings.formatwarning(*shown[:4])))
        assert main(["recipes"]) == 0
    said = capsys.readouterr().out
    assert "left out: \\x1b[2J.png" in said and "\x1b" not in said
    assert warnings.formatwarning is before


def test_a_stream_without_the_characters_takes_them_as_escapes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    take_any_text(stream, object())
    print("caf\u00e9 \u732b", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"caf\\xe9 \\u732b\n"  # type: ignore[attr-defined]
    assert sys.stdout.encoding


def test_ctrl_c_while_the_libraries_are_read_is_one_line(monkeypatch, capsys):
    class Interrupted(types.ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "noisylab.cli", Interrupted("noisylab.cli"))
    assert start() == 130
    assert capsys.readouterr().err == "interrupted\n"
