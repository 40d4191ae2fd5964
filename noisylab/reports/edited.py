"""Whether the curves of a run were changed after it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisylab.reading import regular

__all__ = ["edited_curves"]


def edited_curves(folder: Path, saved: Mapping[str, Any] | None) -> list[str]:
    """A sentence if ``metrics.csv`` is not what the last checkpoint of the run says that it was, else nothing.

    Args:
        folder: of the run.
        saved: of the checkpoint: number of ``bytes`` of the file and their ``sha256``; None where it is not known.
    """
    if saved is None:
        return []
    with regular(folder / "metrics.csv").open("rb") as file:
        content = file.read(saved["bytes"])
    if hashlib.sha256(content).hexdigest() == saved["sha256"]:
        return []
    return ["metrics.csv of the run was changed after the run had written it: its last checkpoint has another digest of it"]
