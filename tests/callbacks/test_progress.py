from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SaveEveryBatch, ToyData, make_trainer
from helpers.toy import BatchNormMLP

from noisylab.callbacks import RunProgress
from noisylab.methods import CrossEntropy, DivideMix
from noisylab.noise import Symmetric


class _Bar(RunProgress):
    """Keeps the bar's totals and where it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.totals: list[int] = []
        self.end = -1

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        assert self._bar is not None
        self.totals.append(self._bar.total)

    def on_train_end(self, *args: Any) -> None:
        assert self._bar is not None
        self.end = self._bar.n
        super().on_train_end(*args)


def test_the_total_is_known_from_the_first_step_where_epochs_are_alike(tmp_path: Path) -> None:
    bar = _Bar()
    make_trainer(tmp_path, 3, (bar,)).fit(CrossEntropy(3, BatchNormMLP), datamodule=ToyData(num_train=40))
    assert set(bar.totals) == {15} and bar.end == 15


@pytest.mark.parametrize("resumed", [False, True])
def test_the_total_follows_epochs_of_other_lengths(resumed: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = partial(DivideMix, 3, BatchNormMLP, warmup_epochs=1)
    data = partial(ToyData, num_train=61, noise=Symmetric(0.4))
    bar, every = _Bar(), SaveEveryBatch(tmp_path)
    make_trainer(tmp_path, 3, (bar, every)).fit(method(), datamodule=data())
    if resumed:
        steps, bar = bar.end, _Bar()
        make_trainer(tmp_path, 3, (bar,)).fit(method(), datamodule=data(), ckpt_path=every.files[9], weights_only=True)
        assert bar.end == steps
    assert len(set(bar.totals)) > 1 and bar.totals[-1] == bar.end
