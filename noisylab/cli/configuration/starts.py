"""The part ``init_from`` of a configuration: the runs whose weights a new run starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisylab.checkpoints.warm_start import WarmStart
from noisylab.cli.configuration.fitting import fits, wrong_value
from noisylab.cli.configuration.registry import parameters
from noisylab.cli.configuration.scalars import Scalar, key_text, read, settle
from noisylab.cli.errors import UserError, unknown

__all__ = ["absolute_starts", "set_encoders", "set_start", "starts_of"]

Starts = list[dict[str, Any]]


def set_start(before: Starts | None, path: list[str], value: Any) -> Starts | None:
    """``init_from`` with a new value: a run's folder, the arguments of a `WarmStart`, or a list of either.

    Args:
        before: what was given before.
        path: the key, split at its dots: ``init_from``, ``init_from+`` to add to what was given before, or ``init_from.source``
            for an argument of the run given last.
        value: a tree, or text as typed.

    Raises:
        UserError: for an unknown key or a value of another type.
    """
    if len(path) == 2:
        if not before:
            raise UserError(f"init_from.{path[1]}: give the run first, with --init_from DIR")
        return [*before[:-1], {**before[-1], **_arguments({path[1]: value})}]
    if len(path) > 2:
        raise UserError(f"init_from.{path[1]} has no parts, got {'.'.join(path)}")
    given = read(value)
    items = given if isinstance(given, list) else [given]
    if any(isinstance(item, Scalar) and item.value is None for item in items) or given is None:
        return None
    found = [_arguments(item if isinstance(item, dict) else {"run": item}) for item in items]
    for start in found:
        if "run" not in start:
            raise UserError("init_from: run is missing, the folder of the run to start from\n  write --init_from DIR, or add it")
    return [*(before or []), *found] if path[0].endswith("+") else found


def set_encoders(before: Starts | None, path: list[str], value: Any) -> Starts | None:
    """``init_from`` with the runs that the encoders of a `FusionNet` start from: ``encoders_from`` is short for entries of it.

    Args:
        before: what was given before; entries for encoders are replaced, others stay.
        path: the key, split at its dots: ``encoders_from`` for all views, ``encoders_from.image`` for one.
        value: the folder of a run, or for all views also a mapping of folders by the name of the view.

    Raises:
        UserError: for what is neither.
    """
    others = [start for start in before or [] if start.get("encoders") is None]
    given = read(value)
    if len(path) > 2:
        raise UserError(f"encoders_from.{path[1]} has no parts, got {'.'.join(path)}; give the folder of a run")
    if len(path) == 2:
        others = [start for start in before or [] if start.get("encoders") != [path[1]]]
        given = {path[1]: given}
    found: Starts = []
    for view, run in given.items() if isinstance(given, dict) else [(None, given)]:
        if isinstance(run, dict | list):
            raise UserError(
                f"encoders_from{'' if view is None else f'.{key_text(view)}'}: expected the folder of a run, got {run!r}\n"
                "  write encoders_from: {VIEW: DIR}; further keys belong to init_from, see docs/recipes.md"
            )
        if not (isinstance(run, Scalar) and run.value is None) and run is not None:
            found.append(_arguments({"run": run, "encoders": [] if view is None else [key_text(view)]}))
    return [*others, *found] or None


def _arguments(given: dict[Any, Any]) -> dict[str, Any]:
    """Checked arguments of a `WarmStart`."""
    accepted, found = parameters(WarmStart), {}
    for key, item in given.items():
        name = key_text(key)
        if name not in accepted:
            raise unknown("init_from: key", name, accepted)
        hint = accepted[name].hint
        if name in ("networks", "leave", "encoders"):  # one name needs no brackets
            item = read(item)
            item = [item] if isinstance(item, str) else item
        found[name] = settle(item, hint)
        if not fits(found[name], hint):
            raise wrong_value(f"init_from.{name}", found[name], hint)
    return found


def starts_of(config: dict[str, Any]) -> list[WarmStart]:
    """The starts that a checked configuration names, in order.

    Raises:
        UserError: if one of them is not valid.
    """
    try:
        return [WarmStart(**start) for start in config.get("init_from") or ()]
    except (TypeError, ValueError) as error:
        raise UserError(f"init_from: {error}") from error


def absolute_starts(config: dict[str, Any]) -> None:
    """Make the runs of a configuration absolute paths, as seen from the working directory.

    Args:
        config: whole; changed in place.
    """
    if config.get("init_from"):
        config["init_from"] = [
            {**start, "run": str(Path.cwd() / Path(start["run"]).expanduser())} for start in config["init_from"]
        ]
