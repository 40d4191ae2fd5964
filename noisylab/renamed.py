"""Public names that have changed: the old ones work for one version, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["old_argument", "old_names"]

T = TypeVar("T")


def old_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that knows the old names of some of what it holds.

    Args:
        module: its ``__name__``.
        names: new names by old ones.
    """

    def get(name: str) -> Any:
        new = names.get(name)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        told = f"{module}.{name} is now called {new}; the old name will be removed in version 0.3"
        warnings.warn(told, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], new)

    return get


def old_argument(old: str, value: T | None, new: str, current: T) -> T:
    """The value of an argument that may have been given by its old name.

    Args:
        old: the old name.
        value: what was given by it; None for nothing.
        new: the new name.
        current: what was given by that.
    """
    if value is None:
        return current
    told = f"the argument {old} is now called {new}; the old name will be removed in version 0.3"
    warnings.warn(told, DeprecationWarning, stacklevel=3)
    return value
