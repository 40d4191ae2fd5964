"""The noisylab command. Slow imports are made only when needed, so that help and error messages appear at once."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import noisylab
from noisylab.cli.errors import UserError, is_bug, is_foreseen, is_said_elsewhere, message, report
from noisylab.cli.flags import COMMANDS, GROUPS
from noisylab.cli.options import Options, command_of, parse
from noisylab.terminal import silence, take_any_text, visible, visible_warnings

__all__ = ["main"]

_LONG = ("fit", "folds", "study", "sweep", "compare-methods", "auto", "issues", "rerun")  # of which the output is not all
_SIGPIPE = 128 + int(getattr(signal, "SIGPIPE", 13))  # Windows has none


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
        return _SIGPIPE if arguments and arguments[0] in _LONG else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if is_bug(error):
            error.add_note(report(error))
            raise  # with its traceback
        if is_said_elsewhere(error):
            return 2
        if os.environ.get("NOISYLAB_DEBUG"):
            traceback.print_exc()
        print(visible(f"noisylab: error: {message(error)}"), file=sys.stderr)
        if not is_foreseen(error):
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
        print(_help(arguments[1:]))
        return 0
    if arguments[0] == "--version":
        print(noisylab.__version__)
        return 0
    if arguments[0] in GROUPS and arguments[1:] in ([], ["-h"], ["--help"]):
        print(_help(arguments[:1]))
        return 0
    name, rest = command_of(arguments)
    asked = next((place for place, token in enumerate(rest) if token in ("-h", "--help")), None)
    if asked is None:
        return _run(parse(arguments))
    print(_help([name, *(token for token in rest[asked + 1 :] if not token.startswith("-"))]))
    return 0


def _help(names: list[str]) -> str:
    """The help for a command, or for a class named after it; without either that of noisylab itself."""
    from noisylab.cli.usage import help_of

    if not names:
        return help_of()
    if names in [[group] for group in GROUPS]:
        return help_of(names[0])
    command, rest = command_of(names)
    if not rest or not COMMANDS[command].recipe:
        return help_of(command)
    from noisylab.cli.describe import describe

    return describe(rest[0])


def _run(options: Options) -> int:
    name = options.command
    if name == "recipes":
        from noisylab.cli.configuration.recipetable import recipes_table

        print(recipes_table())
        return 0
    if name == "completion":
        from noisylab.cli.usage import completion

        if len(options.places) != 1:
            raise UserError("noisylab completion needs the name of one shell: bash, zsh or tcsh")
        print(completion(options.places[0]))
        return 0
    if name == "compare":
        from noisylab.cli.commands.compare import compare

        return compare(options.places, options.own.get("out"), overwrite="overwrite" in options.own)
    if name == "report":
        from noisylab.cli.commands.report import report as write_report

        return write_report(options)
    if name == "study status":
        from noisylab.cli.commands.study_status import show_status

        return show_status(options.places)
    if name == "dashboard":
        from noisylab.cli.commands.dashboard import write_workspace

        return write_workspace(options)
    if name == "data check":
        from noisylab.cli.commands.data_check import check_data

        return check_data(options.places, options.own.get("root"))
    if name == "data pack":
        from noisylab.cli.commands.data_pack import pack_data

        return pack_data(options.own)
    if options.configs:
        from noisylab.cli.configuration.recipefile import choose

        choose(options.configs, options.row)  # a name that is misspelled is said at once
    if name == "study":
        from noisylab.cli.configuration.studyfile import asked_of

        asked_of(options)  # likewise
    if name in ("compare-methods", "auto"):
        from noisylab.cli.studies.comparison import asked_for

        asked_for(options.own)  # likewise
    if name == "issues apply":
        from noisylab.cli.commands.issues_apply import apply

        return apply(options)
    if name == "issues export":
        from noisylab.cli.commands.issues_export import export

        return export(options)
    return _train_or_evaluate(options)


def _train_or_evaluate(options: Options) -> int:
    from noisylab.cli.launch import settle
    from noisylab.trust import allow

    ignored = settle()
    if ignored is not None:
        print(f"noisylab: note: {ignored}", file=sys.stderr)
    for new in allow(options.trust):
        print(f"trusted from now on: {new}", file=sys.stderr)
    from noisylab.cli.commands.auto import choose_method
    from noisylab.cli.commands.compare_methods import compare_methods
    from noisylab.cli.commands.evaluate import evaluate
    from noisylab.cli.commands.fit import fit
    from noisylab.cli.commands.folds import fit_folds
    from noisylab.cli.commands.issues import find_issues
    from noisylab.cli.commands.predict import predict
    from noisylab.cli.commands.rerun import rerun
    from noisylab.cli.commands.study import run_study
    from noisylab.cli.commands.sweep import run_sweep
    from noisylab.cli.running.again import asked_early, go_on, hear_early, stop_early
    from noisylab.cli.running.meeting import meet
    from noisylab.cli.running.nodes import check_alone, is_needed, rank_timeout

    commands = {
        "fit": fit,
        "folds": fit_folds,
        "study": run_study,
        "sweep": run_sweep,
        "compare-methods": compare_methods,
        "auto": choose_method,
        "issues": find_issues,
        "validate": evaluate,
        "test": evaluate,
        "predict": predict,
        "rerun": rerun,
    }
    try:
        with hear_early(), meet(rank_timeout(options)) as meeting:
            check_alone(options)
            return commands[options.command](go_on(options, meeting)) if is_needed(options) else 0
    except KeyboardInterrupt:
        if not asked_early():
            raise
        return stop_early()
