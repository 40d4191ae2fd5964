"""The record of the data that a model was trained on: its class order, and a data module that works without the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor

from noisylab.checkpoints.fitted import FORMAT, check_classes
from noisylab.data.digests import rows_digest, tensor_digest
from noisylab.data.pictures import Depth
from noisylab.data.rows import DenseRows, MultiRows, RowStore
from noisylab.data.shards.rows import ShardRows
from noisylab.data.source import Source

__all__ = ["FittedData", "depth_from", "depth_numbers", "no_rows", "with_classes"]


class FittedData(L.LightningDataModule):
    """The part of every data module that deals with the model trained on it, not with labels, splits and loaders.

    A level of its own below `NoisyDataModule`, its only child, so that who reads how data are loaded need not read this.

    Attributes:
        path_arguments: names of the constructor's arguments that are files or folders: a run keeps them as absolute paths, so
            that they mean the same from every working directory.
        adopted: the record of a model that was trained on these data, see `adopt`; `None` for data that are measured anew.
    """

    path_arguments: ClassVar[tuple[str, ...]] = ()
    folds: int

    def __init__(self) -> None:
        super().__init__()
        self.adopted: dict[str, Any] | None = None
        self._fitted: dict[str, Any] | None = None
        self._source: Source | None = None

    # ---- what a subclass may say

    def noise_inputs(self, source: Source) -> Tensor | None:
        """(N, ...) what noise that depends on the inputs looks at: rows in memory, as they are read."""
        return source.train.values if isinstance(source.train, DenseRows) else None

    def fit_inputs(self, source: Source, rows: Tensor, given: Tensor) -> None:
        """Measure what the views need on the rows that are trained on, and bring the inputs of `source` to it, in place.

        Called once, by ``setup``, when the rows are split. What was measured is what `measured` returns; a module that has
        `adopted` the record of a model takes the model's figures instead. Nothing is done unless a subclass says so.

        Args:
            source: the data as read.
            rows: (M,) int64 rows that are trained on, sorted, unlabeled ones among them.
            given: (N,) int64 given labels, -1 for unlabeled rows.
        """

    def measured(self) -> dict[str, Any]:
        """Measurements of the rows on which a model's inputs depend: tensors and plain values."""
        return {}

    def digests(self) -> tuple[str, str | None]:
        """Digests of the inputs of the training and the test rows, as stored in files or read from arrays."""
        source = self._read_source()
        return rows_digest(source.train), None if source.test is None or self.folds else rows_digest(source.test)

    def blank(self) -> RowStore:
        """Empty rows of the same form as those of training, after the adopted record has provided what the views need."""
        assert self.adopted is not None
        return no_rows(self.adopted)

    # ---- what everyone may ask

    def fitted(self) -> dict[str, Any]:
        """The record that a model keeps of its training data: class names in their order, measurements of the rows, and
        digests of inputs and labels. A checkpoint holds it (`noisylab.checkpoints.fitted.fitted_in`). Needs ``setup``."""
        if self._fitted is None:
            record = _record(self._read_source(), self.digests(), self.folds, self.measured())
            self._fitted = {**record, "views": list(self.input_views())}
        return self._fitted

    def input_views(self) -> tuple[str, ...]:
        """Names of the inputs of a sample, where they have names: of several views, or of the one that is used of several."""
        rows, chosen = self._read_source().train, getattr(self, "views", None)
        if isinstance(rows, MultiRows):
            return tuple(rows.views)
        return tuple(chosen) if isinstance(chosen, list | tuple) and len(chosen) == 1 else ()

    def adopt(self, fitted: Mapping[str, Any]) -> None:
        """Adopt the record of a model: number the classes as it does, and prepare inputs with the measurements made in training,
        whatever has become of the files. To be called before ``setup``.

        Args:
            fitted: of the module that the model was trained on, see `fitted`.
        """
        if self._source is not None:
            raise RuntimeError(f"{type(self).__name__}.setup() has run already; adopt the record of a model before it")
        self.adopted = dict(fitted)

    def _read_source(self) -> Source:
        if self._source is None:
            raise RuntimeError(f"{type(self).__name__}.setup() has not run; call it, or train with Trainer.fit(datamodule=...)")
        return self._source


def with_classes(source: Source, fitted: Mapping[str, Any]) -> Source:
    """The data with their labels numbered as a model knows its classes: by name, whatever the order they are read in.

    Args:
        source: as read.
        fitted: record of the model.

    Raises:
        ValueError: for other classes than the model has.
    """
    names = tuple(fitted["classes"])
    if source.class_names == names:
        return source
    check_classes(fitted, source.class_names)
    place = torch.tensor([names.index(name) for name in source.class_names])

    def renumbered(labels: Tensor | None) -> Tensor | None:
        return None if labels is None else torch.where(labels < 0, labels, place[labels.clamp(min=0)])

    given = renumbered(source.given)
    assert given is not None
    others = {name: replace(other, target=place[other.target]) for name, other in source.other_tests.items()}
    return replace(
        source,
        given=given,
        clean=renumbered(source.clean),
        test_target=renumbered(source.test_target),
        class_names=names,
        other_tests=others,
    )


def _record(source: Source, digests: tuple[str, str | None], folds: int, measured: Mapping[str, Any]) -> dict[str, Any]:
    """See `FittedData.fitted`; plain values and tensors, which a checkpoint can hold.

    Args:
        source: the data after ``setup``.
        digests: of the inputs of the training and of the test rows.
        folds: above 0 the test rows are some of the training rows.
        measured: what the data module measured on its rows.
    """
    test = None
    if source.test_target is not None and not folds:
        test = {"rows": len(source.test_target), "inputs": digests[1], "labels": tensor_digest(source.test_target)}
    row = _row(source.train)
    return {
        "format": FORMAT,
        "classes": list(source.class_names),
        "train": {"rows": len(source.given), "inputs": digests[0], "labels": tensor_digest(source.given)},
        "test": test,
        "row": None if row is None else {"shape": list(row[0]), "whole": row[1] == torch.uint8},
        "measured": dict(measured),
    }


def _row(store: RowStore) -> tuple[tuple[int, ...], torch.dtype] | None:
    """Shape and type of a row that is one dense tensor."""
    if isinstance(store, DenseRows):
        return tuple(store.values.shape[1:]), store.values.dtype
    return (store.shape, store.dtype) if isinstance(store, ShardRows) else None


def no_rows(fitted: Mapping[str, Any]) -> DenseRows:
    """Empty rows in memory, of the same form as those that a model was trained on."""
    row = fitted["row"] or {"shape": [0], "whole": False}
    return DenseRows(torch.empty((0, *row["shape"]), dtype=torch.uint8 if row["whole"] else torch.float32))


def depth_numbers(depth: Depth | None) -> list[int] | None:
    """A depth as plain values, for a record."""
    return None if depth is None else list(depth)


def depth_from(numbers: list[int] | None) -> Depth | None:
    """The inverse of `depth_numbers`."""
    return None if numbers is None else Depth(*numbers)
