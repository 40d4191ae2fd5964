"""Tables that are too large for memory, in files that are mapped into it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from noisylab.files import partial_name
from noisylab.machine import physical_memory

__all__ = ["half_of_memory", "mapped_table"]


def half_of_memory() -> float:
    """Half of the machine's memory in bytes; infinite where the system does not tell it, so that no file is made unasked."""
    memory = physical_memory()
    return math.inf if memory is None else memory / 2


def mapped_table(shape: Sequence[int], dtype: torch.dtype, fill: float, folder: str | Path) -> Tensor:
    """A tensor on the host whose values lie in a file, of which the system keeps in memory what is used.

    The file has no name: when the process ends, however it ends, its space is free again. It is reserved in full at once, so
    that a disk without room is an error here and not in the middle of training.

    Args:
        shape: of the table.
        dtype: of the values.
        fill: value of all of them.
        folder: on the disk that is to hold the file.

    Raises:
        OSError: where the disk has no room, or is not writable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = mapped_table((2, 3), torch.float32, 0.5, folder)
        ...     table[1] = 2
        ...     table.tolist()
        [[0.5, 0.5, 0.5], [2.0, 2.0, 2.0]]
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    if not count:
        return torch.full(tuple(shape), fill, dtype=dtype)
    path = partial_name(Path(folder) / "samples")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
        finally:
            os.close(handle)
        table = torch.from_file(str(path), shared=True, size=count, dtype=dtype)
    except OSError as error:
        raise OSError(
            f"what is remembered of the samples takes {size / 2**30:.1f} GiB, more than data.memory_limit, and cannot be kept in "
            f"a file in {folder}: {error.strerror or error}; free some disk space, choose another --run_dir, or set a larger "
            "data.memory_limit (GiB)"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return table.view(tuple(shape)).fill_(fill)
