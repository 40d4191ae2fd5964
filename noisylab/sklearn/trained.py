"""A trained method with what its inputs need: it predicts, and is stored as tensors and plain values."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noisylab.data.base import NoisyDataModule
from noisylab.data.rows import FileRows, RowStore, build_views
from noisylab.data.shards.rows import ShardRows
from noisylab.engine.modes import in_mode
from noisylab.methods.base import NoisyLabelMethod
from noisylab.sklearn.training import own_randomness

__all__ = ["Trained"]

_BATCH = 512  # rows predicted at once


class Trained:
    """The networks of a method without its Trainer and memory, and a data module without its data.

    It is pickled as the arguments of its constructor.

    Args:
        kind: class of the method.
        arguments: of its constructor, plain values.
        weights: its ``state_dict`` but for the memory.
        data_kind: class of the data module.
        data_arguments: of its constructor, plain values and empty arrays.
        fitted: the record of the training data, see `noisylab.data.identity.FittedData.fitted`.
        whole_batches: whether batches are filled up, so that a row's probabilities do not depend, by rounding, on the rows
            beside it.
    """

    def __init__(
        self,
        kind: type[NoisyLabelMethod],
        arguments: dict[str, Any],
        weights: dict[str, Any],
        data_kind: type[NoisyDataModule],
        data_arguments: dict[str, Any],
        fitted: dict[str, Any],
        whole_batches: bool,
    ) -> None:
        self.kind, self.arguments, self.whole_batches = kind, arguments, whole_batches
        self.data_arguments, self.fitted = data_arguments, fitted
        with own_randomness(0):  # weights are drawn, and then replaced
            self._method = kind(**arguments)
        blank = {name: value for name, value in self._method.state_dict().items() if name not in weights}
        self._method.load_state_dict({**blank, **weights})
        self._method.requires_grad_(False)
        self._data = data_kind(**data_arguments)
        self._data.adopt(fitted)
        self._data.setup_blank()
        self._views = self._data.view_set()

    @classmethod
    def of(cls, method: NoisyLabelMethod, data: NoisyDataModule, data_arguments: dict[str, Any], whole_batches: bool) -> Self:
        """What is worth keeping of a method after its training.

        Args:
            method: trained.
            data: what it was trained on.
            data_arguments: from which an empty data module of the same class is made.
            whole_batches: see the class.
        """
        weights = _weights(method)
        return cls(type(method), dict(method.hparams), weights, type(data), data_arguments, data.fitted(), whole_batches)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.kind, self.arguments, _weights(self._method), type(self._data), self.data_arguments, self.fitted)
        return type(self), (*arguments, self.whole_batches)

    def probabilities(self, inputs: Any, device: torch.device) -> NDArray[np.float64]:
        """(M, K) probabilities of the classes; rows sum to 1.

        Args:
            inputs: M rows in the form that the data module's ``prepared`` takes.
            device: where to compute.
        """
        data: Any = self._data
        store: RowStore = data.prepared(inputs)
        if isinstance(store, FileRows | ShardRows):
            raise TypeError("NoisyLabelClassifier takes rows in memory; `noisylab predict` takes files")
        self._method.to(device)
        store.settle(device)
        parts = []
        with torch.no_grad(), in_mode(self._method, training=False):
            for rows in torch.arange(len(store)).split(_BATCH):
                missing = _BATCH - len(rows) if self.whole_batches else 0
                index = torch.cat([rows, rows[:1].expand(missing)])
                (batch,) = build_views(store.gather(index), index, ("eval",), 0, self._views)
                parts.append(torch.softmax(self._method(batch)[: len(rows)].double().cpu(), 1).numpy())
        return np.concatenate(parts)


def _weights(method: NoisyLabelMethod) -> dict[str, Any]:
    """Copies of the state of a method on the CPU, without what it remembers of its training rows."""
    state = {name: value for name, value in method.state_dict().items() if not name.startswith("memory.")}
    return {name: value.detach().cpu().clone() if isinstance(value, Tensor) else value for name, value in state.items()}
