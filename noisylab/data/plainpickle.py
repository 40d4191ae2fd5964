"""Reads files of Python's pickle format without trusting them: arrays, numbers, text and containers of these, nothing else."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.reading import check_archive, regular

__all__ = ["load_plain", "load_torch_file"]

_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles of torch's file format before version 1.6
_BAD = (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError)


def load_plain(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle holds; text of Python 2 is read as Latin-1, and keys are text.

    Args:
        content: the pickle.

    Raises:
        ValueError: it is no pickle of a dictionary, or holds anything but numpy arrays and Python's plain types. It says what,
            not in which file.
    """
    return _dictionary(io.BytesIO(content), 0)


def load_torch_file(path: str | Path) -> dict[str, Any]:
    """The dictionary of numpy arrays in a file of ``torch.save``, of its zip format or the one before version 1.6.

    Such a file loads in torch with ``weights_only=False`` alone, which runs what the file says. This reads the arrays and runs
    nothing.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, or is no file.
        ValueError: see `load_plain`; tensors are not read. It says what, not in which file.
    """
    path = regular(path)
    if not zipfile.is_zipfile(path):
        return _dictionary(io.BytesIO(path.read_bytes()), 3)
    try:
        with zipfile.ZipFile(path) as archive:
            named = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(named) != 1:
                raise ValueError(f"it has {len(named)} members data.pkl where a file of torch.save has one")
            check_archive(path, named)
            content = archive.read(named[0])
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"it is a damaged file of torch.save: {error}") from error
    return load_plain(content)


def _dictionary(file: io.BytesIO, before: int) -> dict[str, Any]:
    """The dictionary after some other pickles, the first of which says that this is a file of torch."""
    try:
        for place in range(before):
            found = _PlainUnpickler(file, encoding="latin1").load()
            if place == 0 and found != _MAGIC:
                raise pickle.UnpicklingError("it is no file of torch.save")
        held = _PlainUnpickler(file, encoding="latin1").load()
        if not isinstance(held, dict):
            raise pickle.UnpicklingError(f"it holds a {type(held).__name__} where a dictionary belongs")
    except _BAD as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in held.items()}


class _PlainUnpickler(pickle.Unpickler):
    """Reads numpy arrays and Python's plain types, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the few functions that rebuild arrays.

        Raises:
            pickle.UnpicklingError: for any other name.
        """
        # numpy's two functions that rebuild an array, asked of an array since their module differs between numpy's releases
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return np.empty(0).__reduce_ex__(5)[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how newer Pythons write bytes in the old format
            return _latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which does not belong in a data file")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}, which does not belong in a data file")
    return text.encode("latin1")
