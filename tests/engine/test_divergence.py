"""A state that has become NaN is named and kept out of the checkpoints; so is an input that was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import DropoutMLP, PlainMLP, ToyData, fit, make_trainer
from torch import nn

from noisylab.data.finite import FirstBad, may_be_bad
from noisylab.data.rows import DenseRows, FileRows, MultiRows, SparseRows
from noisylab.engine.divergence import refuse_diverged
from noisylab.engine.ranks import batch_statistics
from noisylab.methods import ACT, CrossEntropy

_CPU = torch.device("cpu")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["weights", "batch statistics", "memory field 'table'"])
def test_what_is_not_finite_is_named(where: str, value: float) -> None:
    networks = {"good": nn.Linear(2, 2), "bad": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))}
    tables = {"table": torch.zeros(5, 2)}
    refuse_diverged(networks, tables, 3, "16-mixed")
    linear, norm = networks["bad"]
    place = {"weights": linear.weight, "batch statistics": norm.running_var}.get(where, tables["table"])
    with torch.no_grad():
        place.view(-1)[1] = value
    named = where if where.startswith("memory") else f"{where} of the network 'bad'"
    with pytest.raises(ValueError, match=f"the {named} are nan or infinite in epoch 3.*16-mixed"):
        refuse_diverged(networks, tables, 3, "16-mixed")


def test_masks_and_the_like_are_no_batch_statistics() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), nn.LayerNorm(2))
    network.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    assert [part.tolist() for part in batch_statistics(network)] == [[0, 0], [1, 1]]
    refuse_diverged({"network": network}, {}, 0, "32-true")


class _Overflow(L.Callback):
    """What a forward pass whose numbers were too large leaves behind when the scaler rightly skips its step."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            values = pl_module.memory["label_table"] if self.where == "memory" else batch_statistics(pl_module.networks)[0]
            values[0] = math.inf


@pytest.mark.parametrize("where", ["memory", "batch statistics"])
def test_what_a_skipped_step_leaves_behind_is_never_saved(where: str, tmp_path: Path) -> None:
    method = ACT(3, DropoutMLP, warmup_epochs=1)
    with pytest.raises(ValueError, match=f"{where}.*are nan or infinite in epoch 0"):
        fit(method, ToyData(), tmp_path, 2, callbacks=(_Overflow(where),))
    assert not list(tmp_path.glob("*.ckpt"))


def test_the_first_bad_row_stays_the_first() -> None:
    first = FirstBad()
    values = torch.zeros(3, 2, 2)
    first.watch("train", torch.tensor([7, 8, 9]), (values,))
    assert first.row("train", _CPU).tolist() == [-1]
    values[1:, 0, 1] = math.nan
    first.watch("train", torch.tensor([4, 6, 2]), (torch.ones(3), {"a": torch.ones(3), "b": values}))
    first.watch("train", torch.tensor([1, 1, 1]), (values,))
    first.watch("train", torch.tensor([], dtype=torch.int64), (values[:0],))  # a rank may have none
    assert first.row("train", _CPU).tolist() == [6] and first.row("test", _CPU).tolist() == [-1]
    first.forget("train")
    assert first.row("train", _CPU).tolist() == [-1]


def test_pixels_and_files_are_not_looked_at() -> None:
    sparse = SparseRows(torch.ones(1), torch.zeros(1, dtype=torch.int64), torch.tensor([0, 1]), 3)
    assert may_be_bad(DenseRows(torch.zeros(1, 2))) and may_be_bad(sparse) and may_be_bad(MultiRows({"a": sparse}))
    assert not may_be_bad(DenseRows(torch.zeros(1, 2, dtype=torch.uint8))) and not may_be_bad(FileRows(["a.jpg"], {}))


def test_a_sample_that_was_repaired_is_accepted(tmp_path: Path) -> None:
    data = ToyData()
    data.setup("fit")
    assert isinstance(data.source.train, DenseRows)
    data.source.train.values[3, 0] = math.nan
    with pytest.raises(ValueError, match="training sample 3"):
        make_trainer(tmp_path, 1).fit(CrossEntropy(3, PlainMLP), datamodule=data)
    data.source.train.values[3, 0] = 0
    make_trainer(tmp_path, 1).fit(CrossEntropy(3, PlainMLP), datamodule=data)


def test_a_bad_input_is_not_predicted(tmp_path: Path) -> None:
    data = ToyData()
    data.setup("predict")
    assert isinstance(data.source.test, DenseRows)
    data.source.test.values[3, 0] = math.inf
    with pytest.raises(ValueError, match="test sample 3 is nan or infinite"):
        make_trainer(tmp_path, 1).predict(CrossEntropy(3, PlainMLP), datamodule=data)
