"""Splits a command line into the command, noisylab's own flags and the values of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from noisylab.cli.errors import UserError, unknown
from noisylab.cli.flags import COMMANDS, FLAGS, GROUPS, flags_of

__all__ = ["Options", "command_of", "parse"]

_PRINTED = ("skip_null", "skip_default")  # forms of --print_config


@dataclass
class Options:
    """A parsed command line.

    Args:
        command: among `noisylab.cli.flags.COMMANDS`.
        own: values of noisylab's own flags; "true" for a switch.
        configs: values of ``--config``.
        loggers: values of ``--logger``.
        trust: values of ``--trust``.
        flags: (dotted key, text) of the values of a recipe, in order.
        moved: values of ``--moved``.
        places: values that need no flag, such as the run folders of ``compare``.
        row: value of ``--row``, a row of one of `configs`.
        sbatch: values of ``--sbatch``.
        searches: values of ``--search``.
    """

    command: str
    own: dict[str, str] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    loggers: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    flags: list[tuple[str, str | None]] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    row: str | None = None
    sbatch: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)


def command_of(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command at the start of a command line, and the rest.

    Raises:
        UserError: when there is no such command, with the nearest.
    """
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in COMMANDS:
            return name, list(argv[words:])
    if argv[0] in GROUPS:
        below = [name for name in COMMANDS if name.startswith(f"{argv[0]} ")]
        raise unknown("noisylab: command", " ".join(argv[:2]), below, f"see noisylab {argv[0]} --help")
    raise unknown("noisylab: command", argv[0], [*COMMANDS, *GROUPS])


def parse(argv: Sequence[str]) -> Options:
    """Split a command line, without interpreting the values.

    Raises:
        UserError: for an unknown command, a flag of another command, a flag given twice with two values, a value without a key
            or a key without its value.
    """
    name, rest = command_of(argv)
    command, options = COMMANDS[name], Options(name)
    while rest:
        token = rest.pop(0)
        token = "--config" if token == "-c" else token
        if not token.startswith("--") or len(token) == 2:
            if command.places and not token.startswith("-"):
                options.places.append(token)
                continue
            raise _no_key(name, token)
        key, equals, text = token[2:].partition("=")
        value: str | None = text if equals else None
        switch = key in FLAGS and not FLAGS[key].value
        if not equals and not switch and rest and not _is_key(rest[0]):
            value = rest.pop(0)
        if key not in FLAGS and command.recipe:
            if value is not None and not value.strip():
                raise UserError(f"--{key} is empty, perhaps because of an unset shell variable; write null for none")
            options.flags.append((key, value))
            continue
        _check_flag(name, key)
        if switch:
            options.own[key] = _switch(key, text if equals else None)
        elif value is None or not value.strip():
            raise UserError(f"--{key} needs a value: {flags_of(name)[key].help}")
        elif FLAGS[key].repeated:
            lists = {"config": options.configs, "logger": options.loggers, "trust": options.trust, "search": options.searches}
            lists |= {"moved": options.moved, "sbatch": options.sbatch}
            lists[key].append(value)
        elif options.own.setdefault(key, value) != value:
            raise UserError(f"--{key} is given twice, as {options.own[key]!r} and {value!r}; leave one of them out")
    options.row = options.own.pop("row", None)
    if options.row is not None and not options.configs:
        raise UserError(f"--row {options.row} is a row of a recipe: name that, too, with --config; noisylab recipes lists both")
    return options


def _switch(key: str, text: str | None) -> str:
    if text is None:
        return "true"
    if key != "print_config":
        raise UserError(f"--{key} takes no value, got {text!r}")
    if text not in _PRINTED:
        raise UserError(f"--print_config takes {' or '.join(_PRINTED)} or nothing, got {text!r}")
    return text


def _no_key(name: str, token: str) -> UserError:
    if not COMMANDS[name].flags:
        return UserError(f"noisylab {name} takes nothing else, got {token!r}")
    longer = next((other for other in COMMANDS if other.startswith(f"{name} ")), None)
    hint = f", or {longer}" if longer else ""
    return UserError(f"noisylab {name}: {token!r} stands without a key; write --key value{hint}")


def _check_flag(name: str, key: str) -> None:
    """Refuse a flag that a command would take no notice of."""
    allowed = flags_of(name)
    if key in allowed:
        return
    if key == "folds":
        raise UserError(
            "--folds trains on every fold and belongs to noisylab folds; for one of them: --data.folds K --data.fold 0"
        )
    if key not in FLAGS:
        raise unknown(f"noisylab {name}: flag", key, allowed, f"see noisylab {name} --help")
    owners = [other for other in COMMANDS if key in COMMANDS[other].flags]
    takes = ", ".join(f"--{flag}" for flag in allowed) or "no flag"
    raise UserError(
        f"--{key} belongs to noisylab {', '.join(owners)} ({flags_of(owners[0])[key].help}); {name} does not take it\n"
        f"  {name} takes: {takes}"
    )


def _is_key(token: str) -> bool:
    return token.startswith("--") or token == "-c"
