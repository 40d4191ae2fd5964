"""Probabilities of rows that a run has not learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, SaveEveryBatch, ToyData, make_trainer
from torch import Tensor

from noisylab.callbacks import Curves, HeldOutProbabilities, RunCheckpoint, RunSummary
from noisylab.data.base import Source
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric


class _Folds(ToyData):
    """Without test rows of its own."""

    def __init__(self) -> None:
        super().__init__(num_train=40, noise=Symmetric(0.4), folds=3, fold=1, val_fraction=0.2, eval_batch_size=4, seed=5)

    def load(self) -> Source:
        return replace(super().load(), test=None, test_target=None)


def _fit(method: NoisyLabelMethod, folder: Path, *more: L.Callback, resume: Path | None = None) -> None:
    own = (*more, HeldOutProbabilities(), Curves(folder), RunSummary(folder), RunCheckpoint(folder, every_n_minutes=None))
    make_trainer(folder, 3, own).fit(method, datamodule=_Folds(), ckpt_path=resume)


def _read(folder: Path) -> tuple[list[int], Tensor]:
    with np.load(folder / "held_out.npz") as found:
        assert set(found) == {"index", "probs"} and found["probs"].dtype == np.float32
        return found["index"].tolist(), torch.from_numpy(found["probs"])


@pytest.mark.parametrize("name", ["ce", "coteaching", "dividemix"])
def test_probabilities_are_the_mean_over_epochs_of_what_the_headline_predictor_says(name: str, tmp_path: Path) -> None:
    data = _Folds()
    data.setup()
    fold = [row for row in range(40) if row not in {*data.info.train_rows.tolist(), *data.split.val.tolist()}]
    assert len(fold) in (13, 14)
    said: list[Tensor] = []

    def predict(trainer: L.Trainer, method: L.LightningModule) -> None:
        method.eval()
        with torch.no_grad():
            said.append(method(data.source.train.values[fold]).softmax(1))  # type: ignore[union-attr]
        method.train()

    loop = L.pytorch.callbacks.LambdaCallback(on_train_epoch_end=predict)
    _fit(PACKAGED[name](DropoutMLP), tmp_path, loop)
    index, probs = _read(tmp_path)
    assert index == fold and len(said) == 3
    assert float((said[0] - said[2]).abs().max()) > 1e-3, "the epochs must differ for this test to say something"
    torch.testing.assert_close(probs, torch.stack(said).mean(0), rtol=0, atol=1e-6)


def test_a_resumed_run_writes_the_same(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    _fit(CrossEntropy(3, DropoutMLP), tmp_path / "straight", saver)
    index, expected = _read(tmp_path / "straight")
    for place in (1, len(saver.files) - 2):  # in the middle of the first and of the last epoch
        torch.manual_seed(99)
        _fit(CrossEntropy(3, DropoutMLP), tmp_path / f"{place}", resume=saver.files[place])
        again, probs = _read(tmp_path / f"{place}")
        assert again == index and torch.equal(probs, expected)


def test_a_run_killed_after_its_last_checkpoint_writes_them_when_it_is_resumed(tmp_path: Path) -> None:
    _fit(CrossEntropy(3, DropoutMLP), tmp_path)
    expected = (tmp_path / "held_out.npz").read_bytes()
    (tmp_path / "held_out.npz").unlink()
    _fit(CrossEntropy(3, DropoutMLP), tmp_path, resume=tmp_path / "last.ckpt")
    assert (tmp_path / "held_out.npz").read_bytes() == expected


def test_data_without_folds_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 1, (HeldOutProbabilities(), Curves(tmp_path), RunSummary(tmp_path)))
    with pytest.raises(ValueError, match=r"needs a fold as the test set; set data\.folds to 5"):
        trainer.fit(CrossEntropy(3, DropoutMLP), datamodule=ToyData())
    assert not (tmp_path / "held_out.npz").exists()
