"""What a maintainer is told when a release of another library no longer keeps to what noisylab relies on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["contract"]


@contextmanager
def contract(name: str, used_by: Any) -> Iterator[None]:
    """Say of any error within that a private name has changed, and where noisylab uses it.

    Args:
        name: the private name, below its library: "lightning.pytorch.Trainer._signal_connector".
        used_by: the function or class of `noisylab.upstream` that uses it.
    """
    try:
        yield
    except Exception as error:
        library = name.partition(".")[0]
        file = used_by.__module__.replace(".", "/") + ".py"
        pytest.fail(
            f"{library} {importlib.metadata.version(library)} changed {name}; see {file}: {used_by.__name__}\n"
            f"  {type(error).__name__}: {error}"
        )
