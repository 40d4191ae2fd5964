"""Files with one row of numbers for each row of the data: features, or predicted probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noisylab.reading import check_arrays

__all__ = ["read_row_file"]


def read_row_file(path: str | Path, key: str, count: int) -> NDArray[np.float32]:
    """(N, D) float32, finite.

    Args:
        path: .npy, or .npz with the array `key`; Python objects in it are never unpickled.
        key: of an .npz.
        count: N, rows of the data.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, has another shape, or holds a number that is not finite.
    """
    try:
        check_arrays(path, (key,))
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            rows = content if isinstance(content, np.ndarray) else content.get(key)
            held = [] if isinstance(content, np.ndarray) else sorted(content)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path} of {key}; check the path") from error
    except Exception as error:  # whatever a damaged, encrypted or foreign file raises
        raise ValueError(f"{path} is not an .npy or .npz file of plain arrays ({error}); save {key} as one") from error
    if rows is None:
        raise ValueError(f"{path} has no array {key!r}, it holds {', '.join(held)}; save the rows under that name")
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or len(rows) != count:
        raise ValueError(
            f"{key} in {path} must be numbers with one row for each of the {count} rows of the training data, in their order, "
            f"got {rows.dtype} of shape {rows.shape}"
        )
    found: NDArray[np.float32] = rows.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise ValueError(
            f"{key} in {path} has {len(bad)} rows that are nan or infinite, the first is row {bad[0]}; compute them again"
        )
    return found
