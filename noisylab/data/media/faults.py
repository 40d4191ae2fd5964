"""What can be wrong with a sound or a film, and the packages that read them."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["UnreadableMedia", "needed"]


class UnreadableMedia(ValueError):
    """Why a file cannot be used, without its name: "is a film without sound"."""


def needed(package: str) -> Any:
    """A package of the extra `media`.

    Raises:
        ModuleNotFoundError: saying how to install it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'sound and films need the package {package}, which is not installed ({error}): pip install "noisylab[media]"',
            name=package,
        ) from None
