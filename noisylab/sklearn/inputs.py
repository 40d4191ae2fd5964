"""What `NoisyLabelClassifier` takes as X: arrays, sparse matrices, data frames, texts; each with its data module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from noisylab.data.base import NoisyDataModule
from noisylab.data.frames.columns import Column, Columns
from noisylab.data.matrix import Matrix
from noisylab.sklearn.frames import columns_of, holds_numbers, is_frame, texts_column
from noisylab.sklearn.targets import Targets
from noisylab.upstream.sklearn import checked_inputs

__all__ = ["InputKind", "data_of", "kind_of", "read_inputs"]

InputKind: TypeAlias = Literal["numbers", "table", "texts"]

_TEXT = "text"  # the column that texts become
_WORDS = {"numbers": "arrays of numbers", "table": "data frames", "texts": "texts"}


def kind_of(X: Any) -> InputKind:
    """Which form the inputs have. A data frame of numbers alone, none of them missing, is an array with names."""
    if is_frame(X):
        return "numbers" if holds_numbers(X) else "table"
    return "texts" if _texts(X) is not None else "numbers"


def read_inputs(estimator: Any, X: Any, fitted: InputKind | None) -> Any:
    """The inputs in the form that the data module takes, after scikit-learn's checks.

    Args:
        estimator: whose numbers and names of columns are noted, or compared.
        X: (N, D) array, sparse matrix or data frame, or N texts.
        fitted: the form that it was fitted on; `None` in ``fit``.

    Returns:
        An array, a sparse matrix in CSR form, or `Columns`.

    Raises:
        TypeError: for another form than it was fitted on.
        ValueError: for what scikit-learn refuses.
    """
    kind = kind_of(X) if fitted is None else fitted
    reset = fitted is None
    if kind == "texts":
        texts = _texts(X)
        if texts is None:
            raise TypeError(f"X must hold texts, as this classifier was fitted on texts, got {type(X).__name__}")
        if not texts:
            raise ValueError("X holds 0 texts (0 samples), while a minimum of 1 is required")
        return Columns("X", {_TEXT: texts_column(texts)})
    if _texts(X) is not None:
        raise TypeError(f"X holds texts, but this classifier was fitted on {_WORDS[kind]}; give it {_WORDS[kind]}")
    if kind == "table" and is_frame(X):
        checked_inputs(estimator, X, reset=reset, as_array=False)
        if not len(X):
            raise ValueError("X has 0 rows (0 samples), while a minimum of 1 is required")
        return columns_of(X)
    array = checked_inputs(estimator, X, reset=reset, as_array=True, accept_sparse="csr")
    if kind == "numbers":
        return array
    numbers = array.toarray() if hasattr(array, "toarray") else array  # a table had names, and now comes without
    none = np.zeros(len(numbers), dtype=bool)
    names = getattr(estimator, "feature_names_in_", range(numbers.shape[1]))
    return Columns("X", {str(name): Column("number", column, none) for name, column in zip(names, numbers.T, strict=True)})


def data_of(inputs: Any, targets: Targets, settings: Mapping[str, Any]) -> tuple[NoisyDataModule, dict[str, Any]]:
    """The data module of some inputs, and the arguments from which an empty one of its class is made.

    Args:
        inputs: of `read_inputs`.
        targets: their labels.
        settings: arguments of the data module.

    Raises:
        TypeError: for an argument that it does not take.
    """
    classes = targets.names
    if not isinstance(inputs, Columns):
        data = Matrix(inputs, targets.codes, class_names=classes, **settings)
        empty = {"X": np.empty((0, inputs.shape[1])), "y": np.empty(0, dtype=np.int64)}
        return data, {**empty, **settings}
    label = "label"
    while label in inputs:
        label += "_"
    given = Column("class", np.maximum(targets.codes, 0), targets.codes < 0, tuple(classes))
    table = Columns(inputs.where, {**inputs.columns, label: given})
    if _is_text(inputs):
        from noisylab.data.text import Text  # it may need the extra "text"

        own = {"text": _TEXT, "label": label, "cache": None, **settings}
        return Text.of(table, **own), {"table": "X", **own}
    from noisylab.data.tabular import Tabular

    own = {"label": label, **settings}
    return Tabular.of(table, **own), {"table": "X", **own}


def _is_text(inputs: Columns) -> bool:
    return list(inputs.columns) == [_TEXT] and inputs.columns[_TEXT].kind == "text"


def _texts(X: Any) -> list[str | None] | None:
    """The texts, where X is a list, a one-dimensional array or a series of them; `None` for anything else."""
    if is_frame(X):
        return None
    if hasattr(X, "ndim") or hasattr(X, "to_list"):
        if getattr(X, "ndim", 1) != 1 or len(getattr(X, "shape", (0,))) != 1:
            return None
        cells = X.tolist() if hasattr(X, "tolist") else X.to_list()
    elif isinstance(X, list | tuple):
        cells = list(X)
    else:
        return None
    cells = [None if cell is None or (isinstance(cell, float) and cell != cell) else cell for cell in cells]
    return cells if cells and all(isinstance(cell, str | None) for cell in cells) and any(cells) else None
