"""The noisylab command."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

import noisylab
from noisylab.callbacks.progress import silence
from noisylab.cli.errors import UserError, is_bug, message, unknown
from noisylab.cli.launch import settle
from noisylab.terminal import take_any_text, visible, visible_warnings
from noisylab.trust import allow

__all__ = ["main"]

_COMMANDS = {
    "fit": "train a method on a data set: noisylab fit --config act_digits.yaml",
    "folds": "a run for each fold as the test set: noisylab folds --config RECIPE.yaml --folds 5 [flags of fit]",
    "issues": "which labels are wrong: noisylab issues --images DIR --labels labels.csv [flags of fit]; correct them:\n"
    "            noisylab issues apply --run DIR --accepted accepted.csv --out labels_fixed.csv",
    "validate": "evaluate a finished run on its validation and test data: noisylab validate --run_dir DIR",
    "test": "evaluate a finished run on its test data: noisylab test --run_dir DIR",
    "predict": "write predictions.csv: noisylab predict --run_dir DIR [--images FOLDER]",
    "compare": "table and figure of finished runs: noisylab compare DIR DIR ... [--out curves.png]",
    "recipes": "list the packaged recipes",
}

_OWN_FLAGS = {
    "config": "a recipe or a YAML file; may be repeated, later ones win",
    "run_dir": "folder of the run, used as given",
    "resume": "continue the run in --run_dir from its newest readable checkpoint",
    "overwrite": "replace the run in --run_dir; predict, compare: the file of --out, if noisylab wrote it",
    "folds": "folds: parts that the training rows are divided into; default data.folds of the recipe",
    "trust": "a module whose classes recipes and run folders may name, as mynet for mynet.MyNet; remembered; may be repeated",
    "dry_run": "do everything but train, print the plan, write nothing",
    "print_config": "print the whole configuration and stop",
    "logger": "tensorboard or wandb, beside the CSV file that is always written; may be repeated",
    "images": "issues: the folder of the pictures; predict: a folder of pictures without labels",
    "labels": "issues: a table with the columns file and label; without it each folder below --images is a class",
    "arrays": "issues: an .npz file with x and y, or a folder with x.npy and y.npy",
    "run": "issues: a finished run, to be described or to apply corrections of",
    "backbone": "issues: pretrained network whose features are trained on: auto, none, efficientnet_lite0, torchvision:NAME",
    "file_column": "issues: column of --labels with the files, if it is not file",
    "label_column": "issues: column of --labels with the labels, if it is not label",
    "skip_unreadable": "issues, predict --images: leave out pictures that cannot be read, and name them",
    "pictures": "issues: how many of the first rows have a picture in issues.html; default 1000",
    "crossfit": "issues: folds; trains as often again for pred_probs.npy, out-of-sample probabilities for cleanlab",
    "accepted": "issues apply: the list of corrections that issues.html offers as a download",
    "top": "issues apply: instead, the surest suggestions, as 5% or a number",
    "out": "predict: where predictions.csv goes; compare: where the figure goes; issues apply: the new labels",
    "checkpoint": "validate, test, predict: the checkpoint of --run_dir to use, last or best",
}
_TRAINING = ("config", "run_dir", "resume", "overwrite", "dry_run", "print_config", "logger", "trust")
_FINISHED = ("config", "run_dir", "checkpoint", "trust")
_FLAGS_OF: dict[str, tuple[str, ...]] = {  # each command takes these and no others
    "fit": _TRAINING,
    "folds": (*_TRAINING, "folds"),
    "issues": tuple(name for name in _OWN_FLAGS if name != "folds"),  # which says itself what issues apply takes
    "validate": _FINISHED,
    "test": _FINISHED,
    "predict": (*_FINISHED, "images", "skip_unreadable", "out", "overwrite"),
    "compare": ("out", "overwrite"),
    "recipes": (),
}
_NO_RECIPE = ("compare", "recipes")  # commands that take no values of a recipe
_SIGPIPE = 128 + int(getattr(signal, "SIGPIPE", 13))  # Windows has none
_PRINTED = ("skip_null", "skip_default")  # forms of --print_config
_SWITCHES = ("resume", "overwrite", "dry_run", "print_config", "skip_unreadable")
_REPEATED = ("config", "logger", "trust")  # flags that may be given several times


@dataclass
class Options:
    """A command line taken apart.

    Args:
        command: the subcommand.
        own: values of noisylab's own flags.
        configs: values of ``--config``.
        loggers: values of ``--logger``.
        trust: values of ``--trust``.
        flags: (dotted key, text) of all others, in order.
        places: run folders of ``compare``; "apply" of ``issues``.
    """

    command: str
    own: dict[str, str] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    loggers: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    flags: list[tuple[str, str | None]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def parse(argv: Sequence[str]) -> Options:
    """Take a command line apart, without looking at what the values mean.

    Raises:
        UserError: for an unknown command, a flag of another command, a flag given twice with two values, a value without a key
            or a key without its value.
    """
    if argv[0] not in _COMMANDS:
        raise unknown("noisylab: command", argv[0], _COMMANDS)
    options = Options(argv[0])
    rest = list(argv[1:])
    while rest:
        token = rest.pop(0)
        token = "--config" if token == "-c" else token
        if options.command in ("compare", "issues", "recipes") and not token.startswith("--"):
            options.places.append(token)
            continue
        if not token.startswith("--") or len(token) == 2:
            raise UserError(f"noisylab {options.command}: {token!r} stands without a key; write --key value")
        key, equals, text = token[2:].partition("=")
        value: str | None = text if equals else None
        if not equals and key not in _SWITCHES and rest and not _is_key(rest[0]):
            value = rest.pop(0)
        if key not in _OWN_FLAGS and options.command not in _NO_RECIPE:
            if value is not None and not value.strip():
                raise UserError(f"--{key} is empty: a variable that the shell does not know, perhaps; write null for none")
            options.flags.append((key, value))
            continue
        _check_flag(options.command, key)
        if key == "print_config" and equals and text in _PRINTED:
            options.own[key] = text
        elif key in _SWITCHES:
            if equals and key == "print_config":
                raise UserError(f"--print_config takes {' or '.join(_PRINTED)} or nothing, got {text!r}")
            if equals:
                raise UserError(f"--{key} takes no value, got {text!r}")
            options.own[key] = "true"
        elif value is None or not value.strip():
            raise UserError(f"--{key} needs a value: {_OWN_FLAGS[key]}")
        elif key in _REPEATED:
            {"config": options.configs, "logger": options.loggers, "trust": options.trust}[key].append(value)
        elif options.own.setdefault(key, value) != value:
            raise UserError(f"--{key} is given twice, as {options.own[key]!r} and {value!r}; leave one of them out")
    return options


def _check_flag(command: str, key: str) -> None:
    """Refuse a flag that a command would take no notice of."""
    allowed = _FLAGS_OF[command]
    if key in allowed:
        return
    if key == "folds":
        raise UserError(
            "--folds trains on every fold and belongs to noisylab folds; for one of them: --data.folds K --data.fold 0"
        )
    if key not in _OWN_FLAGS:
        raise unknown(f"noisylab {command}: flag", key, allowed, f"see noisylab {command} --help")
    owners = [name for name in _COMMANDS if key in _FLAGS_OF[name]]
    takes = ", ".join(f"--{name}" for name in allowed) or "no flag"
    raise UserError(
        f"--{key} belongs to noisylab {', '.join(owners)} ({_OWN_FLAGS[key]}); {command} does not know it\n"
        f"  {command} takes: {takes}"
    )


def _is_key(token: str) -> bool:
    return token.startswith("--") or token == "-c"


def _help() -> str:
    commands = "\n".join(f"  {name:<9} {text}" for name, text in _COMMANDS.items())
    flags = "\n".join(f"  --{name:<15} {text}" for name, text in _OWN_FLAGS.items())
    return (
        f"noisylab {noisylab.__version__}: learning with noisy labels\n\n"
        f"usage: noisylab COMMAND [--flag value ...]\n\n{commands}\n\n"
        f"flags of noisylab\n{flags}\n\nEvery value of a recipe is a flag too, classes by their short names:\n"
        "  noisylab fit --config act_digits.yaml --data.noise.rate 0.2 --trainer.max_epochs 30\n"
        "  noisylab fit --model CrossEntropy --model.network SmallCNN --data Digits --data.noise PairFlip --data.noise.rate 0.4\n"
        "Faster: --config RECIPE.yaml --config fast.yaml, or --speed.channels_last true and others (noisylab fit --help Speed)\n"
        "What a class takes: noisylab fit --help ACT (any method, data set, noise or network)"
    )


def _run(options: Options) -> int:
    if options.command == "recipes":
        if options.places:
            raise UserError(f"noisylab recipes lists the packaged recipes and takes nothing, got {options.places[0]!r}")
        from noisylab.cli.recipes import recipes_table

        print(recipes_table())
        return 0
    if options.command == "compare":
        from noisylab.cli.compare import compare

        return compare(options.places, options.own.get("out"), overwrite="overwrite" in options.own)
    ignored = settle()
    if ignored is not None:
        print(f"noisylab: note: {ignored}", file=sys.stderr)
    for new in allow(options.trust):
        print(f"trusted from now on: {new}", file=sys.stderr)
    from noisylab.cli.folds import fit_folds
    from noisylab.cli.issues import find_issues
    from noisylab.cli.run import evaluate, fit, predict

    training = {"fit": fit, "folds": fit_folds, "issues": find_issues}
    return {**training, "validate": evaluate, "test": evaluate, "predict": predict}[options.command](options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 a mistake in what was asked for, 130 interrupted."""
    if argv is None:
        _begin_in_utf8()
    arguments = list(sys.argv[1:] if argv is None else argv)
    take_any_text(sys.stdout, sys.stderr)
    try:
        with visible_warnings():
            return _answer(arguments)
    except BrokenPipeError:  # the reader of our output has gone, as in `noisylab recipes | head`
        silence(sys.stdout)
        return _SIGPIPE if arguments[:1] in (["fit"], ["folds"], ["issues"]) else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if is_bug(error):
            raise  # with its traceback, and a note how to go on
        if os.environ.get("NOISYLAB_DEBUG"):
            traceback.print_exc()
        print(visible(f"noisylab: error: {message(error)}"), file=sys.stderr)
        if not isinstance(error, UserError | MisconfigurationException):  # looked for and named; others may be ours
            print("  (NOISYLAB_DEBUG=1 shows where)", file=sys.stderr)
        return 2


def _begin_in_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where file names would be read as ASCII: names with accents would not be found again.

    Python does so by itself in the C locale, unless variables such as ``PYTHONUTF8=0`` or other locales of ASCII forbid it.
    """
    started = sys.orig_argv[1:]
    if sys.getfilesystemencoding() == "ascii" and not sys.flags.utf8_mode and Path(sys.argv[0]).is_file():
        os.execve(sys.executable, [sys.executable, "-X", "utf8", *started], {**os.environ, "PYTHONUTF8": "1"})


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(noisylab.__version__)
        return 0
    asked = next((place for place, token in enumerate(arguments) if token in ("-h", "--help")), None)
    if asked is None:
        return _run(parse(arguments))
    if arguments[0] not in _COMMANDS:
        raise unknown("noisylab: command", arguments[0], _COMMANDS)
    from noisylab.cli.describe import describe

    names = [token for token in arguments[asked + 1 :] if not token.startswith("-")]
    print(describe(names[0]) if names else _help())
    return 0
