from __future__ import annotations

import pytest
import torch
from helpers import DropoutMLP, PlainMLP, ToyData
from torch import Tensor

from noisylab.methods.scoring import score_rows
from noisylab.types import EvalBatch

CPU = torch.device("cpu")


def _data() -> ToyData:
    data = ToyData(num_train=30, val_fraction=0.2, eval_batch_size=7)
    data.setup()
    return data


def test_every_row_is_measured_once_in_order_and_in_the_evaluation_view() -> None:
    data = _data()
    visited: list[int] = []

    def measure(batch: EvalBatch) -> dict[str, Tensor]:
        visited.extend(batch.index.tolist())
        return {"inputs": batch.inputs, "label": batch.target}  # type: ignore[dict-item]

    rows = data.info.train_rows
    tables, mask = score_rows(PlainMLP(3), data, measure, rows=rows, device=CPU)
    assert visited == rows.tolist()
    assert mask.nonzero().flatten().tolist() == rows.tolist()
    assert torch.equal(tables["inputs"][rows], data.source.train.values[rows])  # type: ignore[union-attr]
    assert torch.equal(tables["label"][rows], data.given_target[rows])
    assert tables["inputs"].shape == (30, 2) and not bool(tables["inputs"][~mask].any())


def test_networks_are_in_eval_mode_and_get_back_the_modes_that_they_had() -> None:
    network = DropoutMLP(3).train()
    network.body[2].eval()
    before = {name: module.training for name, module in network.named_modules()}
    statistics = network.body[2].running_mean.clone()
    during: list[bool] = []

    def measure(batch: EvalBatch) -> dict[str, Tensor]:
        during.append(any(module.training for module in network.modules()) or torch.is_grad_enabled())
        return {"logits": network(batch.inputs)}

    data = _data()
    first, _ = score_rows(network, data, measure, rows=data.info.train_rows, device=CPU)
    second, _ = score_rows(network, data, measure, rows=data.info.train_rows.flip(0), device=CPU)
    assert not any(during)
    assert {name: module.training for name, module in network.named_modules()} == before
    assert torch.equal(network.body[2].running_mean, statistics)
    torch.testing.assert_close(first["logits"], second["logits"])


def test_modes_come_back_after_an_error() -> None:
    network = DropoutMLP(3).train()

    def measure(batch: EvalBatch) -> dict[str, Tensor]:
        raise RuntimeError("broken")

    data = _data()
    with pytest.raises(RuntimeError, match="broken"):
        score_rows(network, data, measure, rows=data.info.train_rows, device=CPU)
    assert all(module.training for module in network.modules())


def test_no_rows_are_an_error() -> None:
    data = _data()
    with pytest.raises(ValueError, match="no rows to score"):
        score_rows(PlainMLP(3), data, lambda batch: {}, rows=data.info.train_rows[:0], device=CPU)
