"""Files of feature vectors that were computed once, with a digest by which damage is found."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from noisylab.files import atomic_path
from noisylab.reading import regular

__all__ = ["read_rows", "write_rows"]

_DIGEST = hashlib.sha256().digest_size


def read_rows(file: Path, length: int) -> NDArray[np.float32] | None:
    """The features in a file; `None` where there are none, with a warning if it is damaged."""
    try:
        with regular(file).open("rb") as content:
            intact = _digest(content, file.stat().st_size - _DIGEST) == content.read(_DIGEST)
            content.seek(0)
            features: NDArray[Any] = np.load(content, allow_pickle=False) if intact else np.empty(0)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        rank_zero_warn(f"the features in {file} cannot be read ({error}); they are computed again")
        return None
    if features.ndim == 2 and len(features) == length and features.dtype == np.float32:
        return features
    rank_zero_warn(f"{file} is damaged: the features are computed again and the file is replaced")
    return None


def write_rows(file: Path, features: NDArray[np.float32]) -> None:
    """An .npy file with the SHA-256 of its content after it, which `numpy.load` does not mind."""
    try:
        with atomic_path(file) as partial, partial.open("w+b") as content:
            np.save(content, features, allow_pickle=False)
            size = content.tell()
            content.seek(0)
            digest = _digest(content, size)
            content.seek(size)
            content.write(digest)
    except OSError as error:
        rank_zero_warn(f"the features cannot be kept in {file.parent} ({error}), so another run computes them again; set cache")


def _digest(content: BinaryIO, size: int) -> bytes:
    """SHA-256 of the next `size` bytes of a file, or of as many as it has."""
    digest = hashlib.sha256()
    while size > 0 and (part := content.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return digest.digest()
