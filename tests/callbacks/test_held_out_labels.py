"""What a run predicts for the rows held out for validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, SaveEveryBatch, ToyData, make_trainer

from noisylab.callbacks import Curves, HeldOutLabels, RunCheckpoint
from noisylab.cli.configuration.trainer import check_callbacks
from noisylab.cli.errors import UserError
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric


def _data(**more: Any) -> ToyData:
    return ToyData(**{"num_train": 40, "noise": Symmetric(0.4), "val_fraction": 0.3, "eval_batch_size": 4, "seed": 5, **more})


def _fit(
    method: NoisyLabelMethod, data: ToyData, folder: Path, *more: L.Callback, resume: Path | None = None, epochs: int = 3
) -> Curves:
    curves = Curves(folder)
    own = (*more, curves, HeldOutLabels(folder), RunCheckpoint(folder, every_n_minutes=None))
    make_trainer(folder, epochs, own).fit(method, datamodule=data, ckpt_path=resume)
    return curves


def _read(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "validation.npz", allow_pickle=False) as found:
        return dict(found)


@pytest.mark.parametrize("name", ["ce", "coteaching", "dividemix", "forward"])
def test_the_file_gives_the_last_validation_accuracy_row_by_row(name: str, tmp_path: Path) -> None:
    data = _data()
    curves = _fit(PACKAGED[name](DropoutMLP), data, tmp_path)
    found = _read(tmp_path)
    assert list(found) == ["index", "given", "pred", "top_prob"]
    assert [column.dtype for column in found.values()] == [np.int64, np.int64, np.int64, np.float32]
    assert found["index"].tolist() == sorted(data.split.val.tolist())
    assert found["given"].tolist() == data.given_target[found["index"]].tolist()
    assert np.mean(found["given"] == found["pred"]) == pytest.approx(curves.series("val/acc")[-1][1])
    assert ((found["top_prob"] > 1 / 3) & (found["top_prob"] <= 1)).all()


def test_predictions_are_those_of_the_headline_predictor(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, DropoutMLP), _data()
    _fit(method, data, tmp_path)
    found = _read(tmp_path)
    method.eval()
    with torch.no_grad():
        top, pred = method(data.source.train.values[found["index"]]).softmax(1).max(1)  # type: ignore[union-attr]
    assert found["pred"].tolist() == pred.tolist()
    np.testing.assert_allclose(found["top_prob"], top.numpy(), rtol=0, atol=1e-6)


def test_true_labels_are_not_in_the_file_where_validation_compares_with_them(tmp_path: Path) -> None:
    data = _data(val_labels="clean")
    _fit(CrossEntropy(3, DropoutMLP), data, tmp_path)
    found = _read(tmp_path)
    clean = data.clean_target[found["index"]].numpy()
    assert (found["given"] != clean).any(), "some of these labels must be wrong for this test to say something"
    assert found["given"].tolist() == data.noisy.given_target[found["index"]].tolist()  # type: ignore[union-attr]


def test_rows_that_were_not_evaluated_are_left_out(tmp_path: Path) -> None:
    data = _data()
    own = (Curves(tmp_path), HeldOutLabels(tmp_path), RunCheckpoint(tmp_path, every_n_minutes=None))
    make_trainer(tmp_path, 1, own, limit_val_batches=2).fit(CrossEntropy(3, DropoutMLP), datamodule=data)
    assert _read(tmp_path)["index"].tolist() == sorted(data.split.val[:8].tolist())


class _Stop(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch == 1


def test_a_run_that_a_callback_ends_early_writes_its_last_epoch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    _fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path / "stopped", _Stop())
    torch.manual_seed(0)  # the same first weights
    _fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path / "short", epochs=2)
    files = [tmp_path / name / "validation.npz" for name in ("stopped", "short")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_resumed_run_writes_the_same(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    _fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path / "straight", saver)
    expected = (tmp_path / "straight" / "validation.npz").read_bytes()
    for place in (1, len(saver.files) - 2):  # in the middle of the first and of the last epoch
        torch.manual_seed(99)
        _fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path / f"{place}", resume=saver.files[place])
        assert (tmp_path / f"{place}" / "validation.npz").read_bytes() == expected


def test_a_run_killed_after_its_last_checkpoint_writes_the_file_when_it_is_resumed(tmp_path: Path) -> None:
    _fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path)
    expected = (tmp_path / "validation.npz").read_bytes()
    (tmp_path / "validation.npz").unlink()
    _fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path, resume=tmp_path / "last.ckpt")
    assert (tmp_path / "validation.npz").read_bytes() == expected


def test_without_held_out_rows_there_is_no_file(tmp_path: Path) -> None:
    _fit(CrossEntropy(3, DropoutMLP), ToyData(), tmp_path, epochs=1)
    assert not (tmp_path / "validation.npz").exists()


def test_a_recipe_need_not_name_it() -> None:
    with pytest.raises(UserError, match="every run has a HeldOutLabels of its own; leave it out"):
        check_callbacks([HeldOutLabels("somewhere")], False, CrossEntropy(3, DropoutMLP))
