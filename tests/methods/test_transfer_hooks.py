"""Batches pass untouched unless someone listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer

from noisylab.methods import CrossEntropy
from noisylab.types import Batch, EvalBatch, PlanBatch


class _Doubling(ToyData):
    """Looks at every batch on its way and counts."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen: list[type] = []

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.seen.append(type(batch))
        return batch


@pytest.mark.parametrize(("data", "plainly"), [(ToyData, True), (_Doubling, False)])
def test_hooks_of_a_data_module_are_called_where_there_are_any(data: type[ToyData], plainly: bool, tmp_path: Path) -> None:
    method, module = CrossEntropy(3, PlainMLP), data(num_train=16)
    make_trainer(tmp_path, 1).fit(method, datamodule=module)
    assert method.transfers_plainly is plainly
    if isinstance(module, _Doubling):
        assert module.seen.count(PlanBatch) == 2
        assert EvalBatch in module.seen


def test_a_batch_maps_every_tensor_of_every_view() -> None:
    index = torch.arange(2)
    batch = Batch((torch.ones(2, 3), {"a": torch.ones(2), "b": torch.ones(2, 2)}), index, index)
    doubled = batch.map(lambda tensor: tensor * 2)
    assert len(batch.tensors()) == 5
    assert all(torch.equal(new, 2 * old) for new, old in zip(doubled.tensors(), batch.tensors(), strict=True))
    parts = batch.split([1, 1])
    assert [len(part) for part in parts] == [1, 1]
    assert parts[1].views[1]["b"].shape == (1, 2)  # type: ignore[index]
