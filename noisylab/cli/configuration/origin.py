"""The data that a run was trained on: where it is, and whether it is unchanged."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisylab.checkpoints.fitted import changes
from noisylab.cli.configuration.registry import locate
from noisylab.cli.errors import UserError
from noisylab.data.base import NoisyDataModule

__all__ = ["UNRECORDED", "absolute_paths", "notes_on", "path_keys", "refuse_changed", "same_path", "shown"]

_EVERY = ("trusted_labels",)  # an argument of every data module

UNRECORDED = "an older noisylab wrote this checkpoint, without what it knows of its data: they are taken as they are today"
"""Said of a checkpoint without a record."""


def absolute_paths(node: Any) -> None:
    """Make the files and folders in the part ``data`` of a configuration absolute, as seen from the working directory.

    Args:
        node: a class with its arguments, ``class_path`` and ``init_args``; changed in place.
    """
    for arguments, name, _ in _paths(node, ""):
        arguments[name] = str(Path.cwd() / Path(arguments[name]).expanduser())


def path_keys(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(dotted key, path) of every file and folder that the data of a configuration name, such as ``data.noise.path``.

    Args:
        config: whole, as a run folder has it.
    """
    return [(key, str(arguments[name])) for arguments, name, key in _paths(config["data"], "data")]


def same_path(one: Any, other: Any) -> bool:
    """Whether two paths mean one file or folder, seen from the working directory."""
    return Path(str(one)).expanduser().resolve() == Path(str(other)).expanduser().resolve()


def shown(path: Any) -> str:
    """A path as it is typed here: relative where it lies below the working directory."""
    file = Path(str(path))
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(path)


def _paths(node: Any, at: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """(arguments, name, dotted key) of every argument that is a file or folder, in a class and in the classes among its
    arguments.

    Args:
        node: a class with its arguments.
        at: its key.
    """
    parts = _items(node)
    arguments = _items(parts.get("init_args"))
    for name in (*getattr(locate(parts["class_path"]), "path_arguments", ()), *_EVERY):
        if isinstance(arguments.get(name), str | Path) and "://" not in str(arguments[name]):  # addresses are no paths
            yield arguments, name, f"{at}.{name}"
    for name, inner in arguments.items():
        if "class_path" in _items(inner):
            yield from _paths(inner, f"{at}.{name}")


def _items(node: Any) -> dict[str, Any]:
    """The parts of a node of a configuration: of a mapping, or of a namespace of the parser."""
    if isinstance(node, argparse.Namespace):
        return vars(node)
    return node if isinstance(node, dict) else {}


def notes_on(data: NoisyDataModule, stage: str) -> list[str]:
    """How the data of a finished run has changed, for the user.

    Args:
        data: after ``setup``, with the record of the model adopted.
        stage: "validate", "test" or "predict".

    Raises:
        UserError: where rows that are evaluated may be rows that were trained on: held-out rows and folds of changed data.
    """
    if data.adopted is None:
        return [UNRECORDED]
    found = changes(data.adopted, data.fitted())
    if "train" in found and (data.folds or (stage == "validate" and data.held_out)):
        which = "a fold" if data.folds else "held-out rows"
        raise UserError(
            f"{found['train']}\n  {which} of them would be evaluated, and it is no longer known which rows the model has seen\n"
            "  put the data back as they were, or evaluate on test rows of their own"
        )
    return [f"{text}: what is shown is of the data as they are now" for text in found.values()]


def refuse_changed(data: NoisyDataModule, what: str) -> None:
    """Refuse training data that differs from the data of a run.

    Args:
        data: after ``setup``, with the record of the model adopted, if it has one.
        what: the run, for the message.

    Raises:
        UserError: saying what differs.
    """
    found = {} if data.adopted is None else changes(data.adopted, data.fitted())
    if "train" in found:
        raise UserError(
            f"{what}: {found['train']}\n  put the data back as they were, or find the issues of the new data in a new run"
        )
