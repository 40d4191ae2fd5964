"""What methods tell threshold policies in the course of a fit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PlainMLP, ToyData, fit

from noisylab.methods import FixMatch
from noisylab.selection import DashThreshold, PercentileThreshold


def _data(**given: Any) -> ToyData:
    return ToyData(num_train=60, **{"val_fraction": 0.2, "labels_per_class": 3, "batch_size": 4, **given})


def _curve(state: dict[str, Any], name: str) -> list[float]:
    """The values of one number, an epoch each."""
    return [row[3] for row in state["curves"] if row[2] == name]


def test_dash_begins_with_the_validation_loss_after_its_warmup(tmp_path: Path) -> None:
    method = FixMatch(3, PlainMLP, partial(DashThreshold, warmup_epochs=1), ratio=2.0, steps_per_epoch=2)
    state = fit(method, _data(), tmp_path, 2)
    losses = _curve(state, "val/loss")
    assert method.policy["first_rho"].item() == pytest.approx(losses[0], rel=1e-6)
    used = _curve(state, "unlabeled/used")
    assert used[0] == 0 < used[1]


def test_policies_that_need_held_out_rows_say_so(tmp_path: Path) -> None:
    for policy in (DashThreshold, partial(PercentileThreshold, by="mean")):
        with pytest.raises(ValueError, match="val_fraction"):
            fit(FixMatch(3, PlainMLP, policy, steps_per_epoch=1), _data(val_fraction=0.0), tmp_path, 1)


def test_a_percentile_takes_the_accuracy_of_the_epoch_before(tmp_path: Path) -> None:
    method = FixMatch(3, PlainMLP, PercentileThreshold, ratio=2.0, steps_per_epoch=3)
    state = fit(method, _data(), tmp_path, 3)
    accuracies = _curve(state, "train/labeled_acc")
    used = _curve(state, "unlabeled/used")
    assert used == pytest.approx([0.0, *(int(8 * accuracy + 1e-4) / 8 for accuracy in accuracies[:-1])])
    assert torch.isclose(method.policy["accuracy_train"], torch.tensor(accuracies[-1]))
