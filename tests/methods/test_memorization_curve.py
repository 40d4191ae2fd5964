"""Clean patterns first, noise later: the acceptance test of the diagnostics, after Arpit et al., ICML 2017."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import ToyData, make_trainer

from noisylab.callbacks.curves import Curves
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.methods import CrossEntropy
from noisylab.models import MLP
from noisylab.noise import Symmetric

Series = dict[str, list[float]]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """A wide small network on separable blobs with 40 % symmetric noise."""
    torch.manual_seed(0)
    network = partial(MLP, in_features=16, hidden=(128,))
    method = CrossEntropy(4, network, optimizer=partial(torch.optim.Adam, lr=0.01))
    blobs = {"num_train": 160, "num_test": 400, "classes": 4, "features": 16, "spread": 0.8, "weak": 0.0}
    data = ToyData(**blobs, noise=Symmetric(0.4), batch_size=32, eval_batch_size=512)  # type: ignore[arg-type]
    curves = Curves()
    make_trainer(tmp_path_factory.mktemp("run"), 30, (Diagnostics(), curves)).fit(method, datamodule=data)
    names = {name for _, _, name, _ in curves.rows}
    return {name: [value for _, value in curves.series(name)] for name in names}


def test_right_labels_are_learned_before_wrong_ones(series: Series) -> None:
    for epoch in range(5):
        assert series["memorization/clean_acc"][epoch] > series["memorization/noisy_as_given"][epoch], epoch
        assert series["memorization/clean_loss"][epoch] < series["memorization/noisy_loss"][epoch], epoch
        assert series["memorization/loss_auroc"][epoch] > 0.8, epoch


def test_wrong_labels_are_learned_by_heart_in_the_end(series: Series) -> None:
    assert series["memorization/noisy_as_given"][-1] > 0.98
    assert series["memorization/noisy_as_true"][-1] < 0.02
    assert series["memorization/noisy_as_true"][2] > 0.8, "early the network knew better"


def test_clean_accuracy_peaks_before_the_end(series: Series) -> None:
    accuracy = series["test/acc"]
    peak = max(range(30), key=accuracy.__getitem__)
    assert peak < 10 and max(accuracy) - accuracy[-1] > 0.1
    assert series["memorization/peak_epoch"][-1] == peak
    assert series["memorization/drop"][-1] == pytest.approx(max(accuracy) - accuracy[-1])
