"""Help texts of the commands, and the scripts that complete them in a shell. Imports nothing that takes time."""

from __future__ import annotations

import argparse
import shutil
import sys

import noisylab
from noisylab.cli.configuration.recipes import packaged
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.flags import COMMANDS, GROUPS, flags_of

__all__ = ["completion", "help_of", "parser"]

_SHELLS = ("bash", "zsh", "tcsh")
_RECIPE = """\
Every value of a recipe is a flag, too, and classes go by their short names:
  noisylab {name} --config act_digits.yaml --data.noise.rate 0.2 --trainer.max_epochs 30
What a class takes: noisylab {name} --help ACT (method, data set, noise, view, network, Trainer, Speed, RunCheckpoint, WarmStart)
"""
_MAIN = """\
Flags of a command: noisylab COMMAND --help. What a class takes: noisylab fit --help ACT
"""
_PREAMBLE = {  # --config takes a packaged recipe or a file
    "bash": '_noisylab_recipes() {{ compgen -W \'{names}\' -- "$1"; compgen -f -- "$1"; }}\n',
    "zsh": "_noisylab_recipes() {{ _alternative 'recipes:packaged recipe:({names})' 'files:file:_files' }}\n",
}


def parser(name: str) -> argparse.ArgumentParser:
    """The argparse parser of a command: for its help and its completion; `noisylab.cli.options.parse` reads the command line.

    Args:
        name: among `noisylab.cli.flags.COMMANDS`.
    """
    command = COMMANDS[name]
    values = " [--KEY VALUE ...]" if command.recipe else ""
    places = f" {command.places}" if command.places else ""
    flags = " [flags]" if command.flags else ""
    made = argparse.ArgumentParser(
        prog=f"noisylab {name}",
        usage=f"noisylab {name}{places}{flags}{values}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}:\n\n  {command.example}",
        epilog=_RECIPE.format(name=name) if command.recipe else None,
        formatter_class=_Formatter,
        add_help=False,
    )
    _fill(made, name)
    return made


def help_of(name: str | None = None) -> str:
    """The help text of a command or of a group of them; None for that of noisylab itself."""
    if name in GROUPS:
        below = "\n".join(f"  {other:<14}{COMMANDS[other].summary}" for other in COMMANDS if other.startswith(f"{name} "))
        return (
            f"usage: noisylab {name} COMMAND [flags]\n\n{GROUPS[name]}:\n{below}\n\nFlags of each: noisylab {name} COMMAND --help"
        )
    if name is not None:
        return parser(name).format_help().rstrip()
    commands = "\n".join(f"  {name:<14}{command.summary}" for name, command in COMMANDS.items())
    first = [COMMANDS[name].example for name in ("issues", "issues apply", "fit", "compare")]
    examples = "\n".join(f"  {line}" for line in first)
    title = f"noisylab {noisylab.__version__}: learning with noisy labels"
    parts = (title, "usage: noisylab COMMAND [flags]", f"commands:\n{commands}", f"examples:\n{examples}", _MAIN.rstrip())
    return "\n\n".join(parts)


def completion(shell: str) -> str:
    """A script that completes commands, flags and recipes, made by shtab from the parsers.

    Args:
        shell: "bash", "zsh" or "tcsh".

    Raises:
        UserError: for another shell, or where shtab is not installed.
    """
    if shell not in _SHELLS:
        raise unknown("noisylab completion: shell", shell, _SHELLS)
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            f"noisylab completion needs the package shtab, which is not installed ({error}): pip install shtab"
        ) from None
    whole = argparse.ArgumentParser(prog="noisylab", add_help=False)
    commands = whole.add_subparsers()
    for name, summary in {**{name: command.summary for name, command in COMMANDS.items()}, **GROUPS}.items():
        if " " not in name:
            inner = commands.add_parser(name, help=summary, add_help=False)
            if name in COMMANDS:
                _fill(inner, name)
            longer = [other for other in COMMANDS if other.startswith(f"{name} ")]
            if longer:
                below = inner.add_subparsers()
                for other in longer:
                    _fill(below.add_parser(other.rpartition(" ")[2], help=COMMANDS[other].summary, add_help=False), other)
    names = " ".join(packaged())
    preamble = _PREAMBLE.get(shell, "").format(names=names)
    return str(shtab.complete(whole, shell=shell, preamble=preamble)).rstrip()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=max(shutil.get_terminal_size((110, 24)).columns - 2, 60))


def _fill(made: argparse.ArgumentParser, name: str) -> None:
    for key, flag in flags_of(name).items():
        names = ["-c", f"--{key}"] if key == "config" else [f"--{key}"]
        text = flag.help.replace("%", "%%")
        if not flag.value:
            made.add_argument(*names, action="store_true", help=text)
            continue
        action = made.add_argument(*names, metavar=flag.value, help=text)
        if flag.path:
            _complete_paths(action, key)
    made.add_argument("-h", "--help", action="store_true", help="this text")


def _complete_paths(action: argparse.Action, key: str) -> None:
    shtab = sys.modules.get("shtab")
    if shtab is not None:
        recipes = {"bash": "_noisylab_recipes", "zsh": "_noisylab_recipes", "tcsh": "f"}
        setattr(action, "complete", recipes if key == "config" else shtab.FILE)  # noqa: B010  # what shtab looks for
