"""Reads files of Python's pickle format without trusting them: arrays, numbers, text and containers of these, nothing else."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from noisylab.reading import check_archive, regular

__all__ = ["load_numpy_file", "load_plain", "load_torch_file"]

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
    return _with_text_keys(_plain(io.BytesIO(content)))


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
        file = io.BytesIO(path.read_bytes())
        if _plain(file) != _MAGIC:
            raise ValueError("it is no file of torch.save")
        _plain(file), _plain(file)  # the version of the format, and properties of the machine
        return _with_text_keys(_plain(file))
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


def load_numpy_file(path: str | Path) -> dict[str, Any]:
    """The dictionary in a file of ``numpy.save``, which loads in numpy with ``allow_pickle=True`` alone.

    Args:
        path: the file, .npy.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, or is no file.
        ValueError: it holds no dictionary, or see `load_plain`. It says what, not in which file.
    """
    with regular(path).open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if shape != () or dtype != np.dtype(object):
            raise ValueError(f"it holds an array of {dtype} and shape {shape} where a dictionary belongs")
        held = _plain(io.BytesIO(file.read()))
    return _with_text_keys(held.item() if isinstance(held, np.ndarray) and held.shape == () else held)


def _plain(file: io.BytesIO) -> Any:
    """What the next pickle in a file holds."""
    try:
        return _PlainUnpickler(file, encoding="latin1").load()
    except _BAD as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _with_text_keys(held: Any) -> dict[str, Any]:
    if not isinstance(held, dict):
        raise ValueError(f"it holds a {type(held).__name__} where a dictionary belongs")  # noqa: TRY004  # the file is at fault
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
