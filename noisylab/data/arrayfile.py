"""Inputs and labels in an .npz file or a folder of .npy files: found by name, checked, and converted for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisylab.data.arraynames import meant
from noisylab.data.labels import Array
from noisylab.data.rows import SparseRows
from noisylab.reading import check_arrays

__all__ = ["ArrayFile", "check_lengths", "feature_rows", "read_views", "sample_shape", "sparse_rows"]

_CSR = ("_data", "_indices", "_indptr", "_shape")
_LARGEST = float(np.finfo(np.float32).max)
_FEWEST_PIXELS = 5  # a side of a gray picture without a channel


class ArrayFile:
    """The arrays of an .npz file or of a folder of .npy files, each read on demand; nothing is ever unpickled.

    Args:
        path: the file or folder.
        habits: also know arrays that are called in other habits, see `meant`; labels may then be a single column.

    Attributes:
        names: of the arrays, or of what they are `meant` for.
        held: names of the arrays as they are in the file.
        unread: names of arrays that stand for nothing that is known.
        validation: names of arrays of validation rows, which are not read as there are test rows.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it cannot be read.
    """

    def __init__(self, path: str, *, habits: bool = False) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.names = sorted(file.stem for file in self.path.glob("*.npy"))
        else:
            self.names = self._read(self.path, "the file", lambda content: sorted(content.files))
        self.held, self._habits = self.names, habits
        self._stored = {name: name for name in self.names}
        self.unread: list[str] = []
        self.validation: list[str] = []
        if habits:
            try:
                self._stored, self.unread, self.validation = meant(self.names)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from error
            self.names = sorted(self._stored)

    def stored(self, name: str) -> str:
        """The name of an array in the file.

        Raises:
            ValueError: when it is not there.
        """
        if name not in self._stored:
            advice = "; name the inputs x, the labels y, and those of test rows test_x and test_y" if self._habits else ""
            raise ValueError(f"{self.path} has no array {name!r}; it holds {', '.join(self.held) or 'none'}{advice}")
        return self._stored[name]

    def __getitem__(self, wanted: str) -> Array:
        name = self.stored(wanted)
        if self.path.is_dir():
            array = self._read(self.path / f"{name}.npy", name, lambda content: content)
        else:
            array = self._read(self.path, name, lambda content: content[name], (name,))
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} of {self.path} is not an array; save it again with np.savez")  # noqa: TRY004
        if self._habits and wanted.removeprefix("test_") in ("y", "y_true") and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array

    def _read(self, path: Path, what: str, take: Callable[[Any], Any], names: Sequence[str] | None = None) -> Any:
        try:
            check_arrays(path, names)
            with path.open("rb") as file:
                content = np.load(file, allow_pickle=False)
                if isinstance(content, np.ndarray) and not self.path.is_dir():
                    raise ValueError("it is a single array; put it into a folder as x.npy beside y.npy")
                return take(content)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no file or folder {path}; check the path") from error
        except Exception as error:  # whatever a damaged, encrypted or foreign file raises
            if "allow_pickle" in str(error):
                raise ValueError(
                    f"{what} of {self.path} holds Python objects, which are never unpickled, or is no array at all; save numbers "
                    "as numbers, text with np.array(texts, dtype=str), and rows of unequal length padded"
                ) from error
            raise ValueError(f"cannot read {what} of {self.path}: {error}; write it again with np.savez") from error


def read_views(
    file: ArrayFile, prefix: str, wanted: Sequence[str] | None, account: list[str] | None = None
) -> dict[str, Tensor | SparseRows]:
    """The inputs by view name; an input without a view name is called "".

    Args:
        file: where they are.
        prefix: of the arrays' names, "" or "test_".
        wanted: the views to read, in this order; `None` for all, sorted by name.
        account: is told what arrays of three sides were taken for, a sentence each.

    Returns:
        (N, D) features, float32, or float64 where float32 would round what was saved; (N, C, H, W) uint8 or float32 images; or
        sparse rows.

    Raises:
        ValueError: naming the array that is missing or does not fit.
    """
    stem = f"{prefix}x"
    mine = [name for name in file.names if name == stem or name.startswith(f"{stem}_")]
    sparse = {name.removesuffix(end) for name in mine for end in ("_indices", "_indptr") if name.endswith(end)}
    dense = set(mine) - {name + end for name in sparse for end in _CSR}
    views = {name.removeprefix(stem).removeprefix("_"): name for name in sorted(sparse | dense)}
    if not views:
        raise ValueError(f"{file.path} has no inputs {stem} or {stem}_<view>; it holds {', '.join(file.held) or 'no arrays'}")
    if "" in views and len(views) > 1:
        named = ", ".join(name for view, name in views.items() if view)
        raise ValueError(f"{file.path} has {stem} beside {named}; give all views a name, or keep only {stem}")
    for view in wanted or ():
        if view not in views:
            there = ", ".join(views) if "" not in views else f"{stem}, which has no view name"
            raise ValueError(f"{file.path} has no view {view!r} ({stem}{'_' * bool(view)}{view}); it has {there}")
    return {
        view: _sparse(file, views[view])
        if views[view] in sparse
        else _dense(file[views[view]], f"{views[view]} in {file.path}", account)
        for view in wanted or views
    }


def sample_shape(inputs: Tensor | SparseRows) -> tuple[int, ...]:
    """Shape of one row."""
    return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else (inputs.num_columns,)


def check_lengths(file: ArrayFile, prefix: str, inputs: Mapping[str, Tensor | SparseRows], others: Sequence[str]) -> None:
    """Refuse arrays of different lengths.

    Args:
        file: where they are.
        prefix: of their names.
        inputs: those of `read_views`.
        others: names, with prefix, of labels and groups.

    Raises:
        ValueError: naming all arrays with their lengths.
    """
    lengths = {f"{prefix}x{'_' * bool(view)}{view}": len(rows) for view, rows in inputs.items()}
    lengths |= {name: int(np.shape(file[name])[0]) if np.ndim(file[name]) else 1 for name in others}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"arrays of {file.path} have different lengths: {found}; each needs one entry per sample")


def _sparse(file: ArrayFile, stem: str) -> SparseRows:
    absent = [stem + end for end in _CSR if stem + end not in file.names]
    if absent:
        raise ValueError(f"{file.path} has parts of a sparse matrix {stem} but not {', '.join(absent)}; save all four")
    data, indices, indptr, shape = (file[stem + end] for end in _CSR)
    what = f"{stem} in {file.path}"
    for end, part, kinds in zip(_CSR, (data, indices, indptr, shape), ("biuf", "iu", "iu", "iu"), strict=True):
        if part.dtype.kind not in kinds:
            wanted = "real numbers" if "f" in kinds else "whole numbers"
            raise ValueError(
                f"{stem}{end} in {file.path} must hold {wanted}, got {part.dtype}; save the parts of a scipy.sparse.csr_matrix"
            )
    if shape.shape != (2,) or indptr.shape != (int(shape[0]) + 1,) or data.ndim != 1 or data.shape != indices.shape:
        raise ValueError(
            f"{what}: shape {shape.tolist()} with {data.size} data, {indices.size} indices and {indptr.size} indptr is not a CSR "
            "matrix; save the parts of a scipy.sparse.csr_matrix"
        )
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    ordered = indptr[0] == 0 and indptr[-1] == len(data) and bool((np.diff(indptr) >= 0).all())
    if not ordered or (len(indices) and not 0 <= indices.min() <= indices.max() < shape[1]):
        raise ValueError(f"{what}: indptr or indices point outside the matrix; save the parts of a scipy.sparse.csr_matrix")
    return sparse_rows(data, indices, indptr, int(shape[1]), what)


def sparse_rows(data: Array, indices: Array, indptr: Array, num_columns: int, what: str) -> SparseRows:
    """Rows of a CSR matrix whose parts fit together.

    Args:
        data: (nnz,) real numbers.
        indices: (nnz,) their columns.
        indptr: (N + 1,) where each row begins.
        num_columns: D.
        what: their name in messages.

    Raises:
        ValueError: naming the first number that is NaN, infinite or beyond float32.
    """
    bad = np.flatnonzero(~np.isfinite(data))
    if len(bad):
        _refuse_nonfinite(what, len(bad), int(np.searchsorted(indptr, bad[0], side="right")) - 1)
    large = np.flatnonzero(np.abs(data.astype(np.float64)) > _LARGEST)
    if len(large):
        raise ValueError(
            f"{what} has {data[large[0]]:g} in column {indices[large[0]]}, which is beyond float32 ({_LARGEST:g}); it has "
            f"{len(large)} such numbers. Divide the column"
        )
    columns, starts = (torch.from_numpy(part.astype(np.int64)) for part in (indices, indptr))
    return SparseRows(torch.from_numpy(data.astype(np.float32)), columns, starts, num_columns)


def feature_rows(array: Array, what: str) -> Tensor:
    """(N, D) float32, or float64 where float32 would round; a copy.

    Args:
        array: (N, D) real numbers.
        what: their name in messages.

    Raises:
        ValueError: naming the first row with a number that is NaN or infinite.
    """
    _check_finite(array, what)
    narrow = array.dtype.kind == "b" or array.dtype.itemsize <= 2 or array.dtype == np.float32
    return torch.from_numpy(array.astype(np.float32 if narrow else np.float64, order="C"))


def _dense(array: Array, what: str, account: list[str] | None) -> Tensor:
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3, 4) or array.size == 0:
        raise ValueError(
            f"{what} must be numbers of shape (N, D), (N, H, W), (N, H, W, C) or (N, C, H, W), got {array.dtype} of shape "
            f"{array.shape}; reshape it"
        )
    _check_finite(array, what)
    if array.ndim == 3:
        gray, sides = _gray_pictures(array), f"{array.shape[1]} x {array.shape[2]}"
        if account is not None:
            account.append(
                f"{what}: rows of {sides} are taken for gray pictures; reshape them to (N, {array.shape[1] * array.shape[2]}) "
                "if they are feature vectors"
                if gray
                else f"{what}: rows of {sides} are taken for feature vectors, not for gray pictures; "
                "reshape them to (N, 1, H, W) if they are pictures"
            )
        array = array if gray else array.reshape(len(array), -1)
    return feature_rows(array, what) if array.ndim == 2 else _images(array, what)


def _gray_pictures(array: Array) -> bool:
    """Whether rows of two sides are pictures: no side is below five, as one of channels would be, and none is longer than twice
    the other, as one of time would be; up to four times in uint8, the type of pictures."""
    short, long = sorted(array.shape[1:])
    return short >= _FEWEST_PIXELS and long <= (4 if array.dtype == np.uint8 else 2) * short


def _check_finite(array: Array, what: str) -> None:
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        bad = np.flatnonzero(~finite.reshape(len(array), -1).all(1))
        if len(bad):
            _refuse_nonfinite(what, int(finite.size - np.count_nonzero(finite)), int(bad[0]))


def _refuse_nonfinite(what: str, count: int, row: int) -> None:
    raise ValueError(f"{what} has {count} values that are NaN or infinite, the first in row {row}; replace them or drop the rows")


def _images(array: Array, what: str) -> Tensor:
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    elif array.shape[1] not in (1, 3) or array.shape[3] in (1, 3):
        raise ValueError(
            f"{what} has the shape {array.shape}, in which the axis of 1 or 3 channels is ambiguous; save images as "
            "(N, H, W, C) or (N, C, H, W) with C = 1 or 3, or feature vectors as (N, D)"
        )
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if low < 0 or high > 1:
            raise ValueError(
                f"{what} has pixels from {low:g} to {high:g}, but float images must lie in [0, 1]; scale them, or save 0..255 "
                "as uint8, or feature vectors as (N, D)"
            )
        if array.shape[1] == 1:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        array = np.rint(array * 255)
    elif low < 0 or high > 255:
        raise ValueError(f"{what} has pixels from {low} to {high}, but whole numbers must lie in 0..255; scale them to uint8")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.uint8))
