"""Arrays in memory: rows of numbers, dense or sparse, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisylab.data.arrayfile import feature_rows, sample_shape, sparse_rows
from noisylab.data.base import NoisyDataModule, Source
from noisylab.data.digests import rows_digest
from noisylab.data.labels import Array, LabelNames, read_labels
from noisylab.data.missing import Missing, Unlabeled, doubtful
from noisylab.data.notes import note
from noisylab.data.rows import DenseRows, RowStore, SparseRows
from noisylab.data.scaling import Scaling, check_standardize, measure, scale_parts
from noisylab.data.suspicions import repeated, row_digests
from noisylab.transforms.views import feature_views

__all__ = ["Matrix"]

Rows = Tensor | SparseRows


class Matrix(NoisyDataModule):
    """Feature vectors that are in memory already, as scikit-learn takes them. Nothing is copied before ``setup``.

    What `Arrays` does with the vectors of a file is done here, too: the same scaling, the same views, the same rules for labels.
    A run folder cannot name arrays in memory, so the command line has no such data; save them for `Arrays` there.

    Args:
        X: (N, D) real numbers, or a matrix of `scipy.sparse` in any format, which stays sparse until a batch is built.
        y: (N,) labels, whole numbers or text. Their sorted values are the classes.
        test_X: (M, D) test rows, or `None`.
        test_y: (M,) their labels.
        y_true: (N,) true labels, -1 or empty text where unknown. Only reports see them, and `noise` cannot be added.
        group: (N,) the speaker or patient of each row, whole numbers or text, for ``val_by="group"``.
        names: (N) a name for each row, by which corrections find back; `None` for their numbers.
        class_names: K names; `y` is then 0..K-1 or among the names.
        missing: see `Arrays`.
        standardize: likewise.
        **kwargs: see `NoisyDataModule`.

    Raises:
        ValueError: in ``setup``, naming the array that does not fit and the first row at fault.

    Example:
        >>> data = Matrix(np.eye(6, 4), np.array(["cat", "dog"] * 3), batch_size=2)
        >>> data.setup()
        >>> data.num_classes, data.num_features, data.info.class_names, data.given_target.tolist()
        (2, 4, ('cat', 'dog'), [0, 1, 0, 1, 0, 1])
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        test_X: Any = None,
        test_y: Any = None,
        y_true: Any = None,
        group: Any = None,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        missing: Missing = "auto",
        standardize: bool | Literal["auto"] = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (test_X is None) != (test_y is None):
            raise ValueError("test_X and test_y go together; give both or neither")
        check_standardize(standardize)
        self.X, self.y, self.test_X, self.test_y, self.y_true, self.group = X, y, test_X, test_y, y_true, group
        self.names, self.class_names, self.missing, self.standardize = names, class_names, missing, standardize
        self._scaling: Scaling | None = None
        self._digests: tuple[str, str | None] | None = None

    @property
    def source_classes(self) -> int:
        """The number of classes, counted in the labels."""
        return len(self._classes.names)

    @property
    def num_features(self) -> int:
        """D."""
        return int(np.shape(self.X)[1])

    @cached_property
    def _given(self) -> tuple[Array, Unlabeled]:
        return read_labels(_labels(self.y), "y", self.missing, self._names)

    @cached_property
    def _classes(self) -> LabelNames:
        labels, gone = self._given
        return LabelNames.of(labels[~gone.mask], self._names, "y")

    @property
    def _names(self) -> Array | None:
        return None if self.class_names is None else np.array(self.class_names, dtype=np.str_)

    def load(self) -> Source:
        """Take and check the arrays."""
        classes, (labels, gone) = self._classes, self._given
        self._check_lengths()
        said = gone.told("y")
        if self.class_names is None and self.missing in ("auto", "all"):
            said += doubtful(classes.names, "y")
        train = _rows(self.X, "X")
        source = Source(
            train=_store(train),
            given=classes.numbers(labels, "y", skip=gone.mask),
            class_names=classes.names,
            names=None if self.names is None else list(self.names),
            unlabeled=True,
        )
        if self.y_true is not None:
            source.clean = classes.numbers(_labels(self.y_true), "y_true", unknown=True)
        if self.group is not None:
            _, numbers = np.unique(np.asarray(self.group), return_inverse=True)
            source.group = torch.from_numpy(numbers.astype(np.int64))
        if self.test_X is not None:
            test = _rows(self.test_X, "test_X")
            self._check_width(test, "test_X", sample_shape(train)[0])
            found, none = read_labels(_labels(self.test_y), "test_y", self.missing, self._names)
            source.test = _store(test)
            source.test_target = classes.numbers(found, "test_y", skip=none.mask)
            said += [*none.told("test_y"), *repeated(row_digests({"": train}), row_digests({"": test}))]
        for text in said:
            note(text)
        source.account += said
        self._scaling = None if self.adopted is None else Scaling.of(self.adopted["measured"])
        return source

    def _check_lengths(self) -> None:
        pairs = {"X": self.X, "y": self.y, "y_true": self.y_true, "group": self.group, "names": self.names}
        tests = {"test_X": self.test_X, "test_y": self.test_y}
        for arrays in (pairs, tests):
            lengths = {name: _length(array) for name, array in arrays.items() if array is not None}
            if len(set(lengths.values())) > 1:
                found = ", ".join(f"{name} {length}" for name, length in lengths.items())
                raise ValueError(f"the arrays have different lengths: {found}; each needs one entry per sample")

    @staticmethod
    def _check_width(rows: Rows, what: str, columns: int) -> None:
        if sample_shape(rows) != (columns,):
            raise ValueError(
                f"{what} has rows of {sample_shape(rows)[0]} numbers, those of training have {columns}; prepare both alike"
            )

    def noise_inputs(self, source: Source) -> Tensor | None:
        """Rows scaled by statistics of all of them, because noise is drawn before rows are held out."""
        rows = super().noise_inputs(source)
        if rows is None:
            return None
        scaled = measure(rows, self.standardize, torch.arange(len(rows)))(rows, "X")
        assert isinstance(scaled, Tensor)
        return scaled

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Measure the columns on the rows that are trained on, unless a model's record prescribes it, and scale all rows."""
        train, same = _values(source.train), source.test is source.train
        test = None if same or source.test is None else _values(source.test)
        if self._scaling is None:
            kept = torch.arange(len(source.given)) if self.standardize is True else rows
            self._scaling = measure(train, self.standardize, kept)
        # scaled rows are no longer those that were given
        self._digests = rows_digest(source.train), None if source.test is None or same else rows_digest(source.test)
        scaled, tested, said = scale_parts(self._scaling, train, test, rows, ("X", "test_X"))
        source.train = _store(scaled)
        source.test = source.train if same else None if tested is None else _store(tested)
        source.account += [*([f"X: {self._scaling.text}"] if self._scaling.text else []), *said]

    def prepared(self, X: Any) -> DenseRows | SparseRows:
        """Other rows, scaled as a model that was trained on these data takes them. Needs ``setup`` or ``setup_blank``.

        Args:
            X: (M, D) dense or sparse.

        Raises:
            ValueError: for another number of columns, or a number that is NaN, infinite or, scaled, beyond float32.
        """
        if self._scaling is None:
            raise RuntimeError("Matrix.setup() has not run, so nothing is known of the columns yet; call it")
        rows = _rows(X, "X")
        self._check_width(rows, "X", self.num_features if self.adopted is None else int(self.adopted["measured"]["columns"]))
        return _store(self._scaling(rows, "X"))

    def digests(self) -> tuple[str, str | None]:
        """Digests of the arrays, before they are scaled."""
        return super().digests() if self._digests is None else self._digests

    def measured(self) -> dict[str, Any]:
        """How the columns are scaled, and their number."""
        assert self._scaling is not None
        return {**self._scaling.state(), "columns": self.num_features}

    def blank(self) -> RowStore:
        """No rows."""
        assert self.adopted is not None
        self._scaling = Scaling.of(self.adopted["measured"])
        return super().blank()

    def view_set(self) -> Mapping[str, Any]:
        """Views of feature vectors."""
        return feature_views()


def _rows(X: Any, what: str) -> Rows:
    if hasattr(X, "tocsr"):
        matrix = X.tocsr(copy=True)
        matrix.sum_duplicates()
        return sparse_rows(matrix.data, matrix.indices, matrix.indptr, int(matrix.shape[1]), f"{what} (sparse)")
    array = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X)
    if array.ndim != 2 or array.dtype.kind not in "biuf" or array.size == 0:
        raise ValueError(
            f"{what} must be numbers of shape (N, D), got {array.dtype} of shape {array.shape}; reshape it. Pictures are read "
            "from files, by Arrays or ImageFolder, and columns of text or categories by Tabular"
        )
    return feature_rows(array, what)


def _store(rows: Rows) -> DenseRows | SparseRows:
    return DenseRows(rows) if isinstance(rows, Tensor) else rows


def _values(store: RowStore) -> Rows:
    assert isinstance(store, DenseRows | SparseRows)
    return store.values if isinstance(store, DenseRows) else store


def _labels(y: Any) -> Array:
    array: Array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    return array.astype(np.str_) if array.dtype.kind == "O" and all(isinstance(label, str) for label in array.flat) else array


def _length(array: Any) -> int:
    return int(array.shape[0]) if hasattr(array, "shape") else len(array)
