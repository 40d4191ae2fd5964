"""Lets a new run start from the weights of earlier ones, as its configuration says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from noisylab.checkpoints.stamp import data_stamp
from noisylab.checkpoints.warm_start import warm_start
from noisylab.cli.configuration.recipes import load_yaml, text_of
from noisylab.cli.configuration.starts import starts_of
from noisylab.cli.errors import UserError
from noisylab.cli.launch import first_process
from noisylab.cli.running.app import App
from noisylab.cli.running.session import say

__all__ = ["begin_from", "keep_notes", "refuse_start"]


def begin_from(app: App, config: dict[str, Any]) -> None:
    """Load the weights that a new run starts from, print how much was loaded, and keep the files' hashes for ``config.yaml``.

    Args:
        app: instantiated, with its data set up; not a resumed one.
        config: what it was built from.

    Raises:
        UserError: for weights that cannot be loaded.
    """
    assert app.subcommand is not None
    noted = []
    for start, given in zip(starts_of(config), config.get("init_from") or (), strict=True):
        info = app.datamodule.info
        try:
            found = warm_start(app.model, start, info.class_names, data_stamp(info))
        except (ValueError, FileNotFoundError) as error:
            raise UserError(f"init_from {start.run}: {error}") from error
        for started in found if first_process() else ():
            say(str(started), sys.stderr)
        noted.append({**given, "sha256": found[0].sha256})
    if noted:
        app.config[app.subcommand]["init_from"] = noted


def keep_notes(app: App, folder: Path) -> None:
    """Put the hashes that a run recorded when it began into the configuration of the resumed run.

    Args:
        app: instantiated, to be resumed with the starts that the run began with.
        folder: of the run.
    """
    assert app.subcommand is not None
    file, config = folder / "config.yaml", app.config[app.subcommand]
    if config.get("init_from") and file.is_file():
        noted = (load_yaml(text_of(file), str(file)) or {}).get("init_from") or []
        config["init_from"] = noted if len(noted) == len(config["init_from"]) else config["init_from"]


def refuse_start(config: dict[str, Any], what: str) -> None:
    """Refuse weights of an earlier run if that run may have seen rows that will be tested.

    Args:
        config: checked.
        what: the flag or command that tests rows of the training set.

    Raises:
        UserError: if the configuration names any.
    """
    if config.get("init_from"):
        raise UserError(
            f"init_from: {what} tests every row with a network that never saw it, but the run to start from may have seen these "
            "rows\n  leave init_from out, or train each fold by itself, from a run of that fold: noisylab fit --data.fold 0 "
            "--init_from DIR"
        )
