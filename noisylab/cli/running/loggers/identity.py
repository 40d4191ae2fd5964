"""What the loggers know a run folder by, kept in the folder, so that a resume goes on with the same run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from noisylab.cli.errors import UserError
from noisylab.files import atomic_path

__all__ = ["FILE", "keep", "kept"]

FILE = "loggers.json"


def kept(folder: Path, logger: str) -> dict[str, str]:
    """What a logger has kept in a run folder; empty if nothing.

    Args:
        folder: of the run.
        logger: name of the logger, as ``--logger`` takes it.

    Raises:
        UserError: if the file is damaged.
    """
    return dict(_all(folder).get(logger, {}))


def keep(folder: Path, logger: str, values: Mapping[str, str]) -> None:
    """Keep texts for a logger, atomically, beside those of the others.

    Args:
        folder: of the run.
        logger: name of the logger.
        values: by name.
    """
    found = _all(folder)
    if found.get(logger) == dict(values):
        return
    with atomic_path(folder / FILE) as partial:
        partial.write_text(json.dumps({**found, logger: dict(values)}, indent=2) + "\n", encoding="utf-8")


def _all(folder: Path) -> dict[str, dict[str, str]]:
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
        raise _damaged(file, "it does not hold an object for each logger")
    return found


def _damaged(file: Path, why: str) -> UserError:
    return UserError(
        f"{file}: what the loggers know this run by cannot be read: {why}\n"
        "  put the file back, or delete it: a resume then begins new runs in W&B, MLflow and Trackio"
    )
