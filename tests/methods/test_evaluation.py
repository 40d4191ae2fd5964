from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import PlainMLP, ToyData, make_trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader

from noisylab.data import Arrays
from noisylab.methods import ACT, CrossEntropy, Forward, NoisyLabelMethod
from noisylab.noise import Symmetric


def _accuracy(probs: torch.Tensor, target: torch.Tensor) -> float:
    return sum(int(p) == int(t) for p, t in zip(probs.argmax(1), target, strict=True)) / len(target)


def test_accuracies_of_both_networks_and_their_mean_probability(tmp_path: Path) -> None:
    method, data = ACT(3, PlainMLP), ToyData(noise=Symmetric(0.4), val_fraction=0.2, spread=2.5, num_test=33)
    make_trainer(tmp_path, 2).fit(method, datamodule=data)
    with torch.no_grad():
        x = {"test": data.source.test.values, "val": data.source.train.values[data.split.val]}  # type: ignore[union-attr]
        y = {"test": data.source.test_target, "val": data.given_target[data.split.val]}
        for split, inputs in x.items():
            probs = {name: net(inputs).softmax(1) for name, net in method.networks.items()}
            probs["ensemble"] = (probs["robust"] + probs["standard"]) / 2
            for name, values in probs.items():
                expected = _accuracy(values, y[split])  # type: ignore[arg-type]
                assert method.epoch_metrics[f"{split}/acc_{name}"] == pytest.approx(expected), (split, name)
            assert method.epoch_metrics[f"{split}/acc"] == method.epoch_metrics[f"{split}/acc_robust"]
    assert method.last_accuracy("test") == method.epoch_metrics["test/acc"]
    assert method.last_accuracy("train") is None


def test_accuracy_of_clips_beside_that_of_their_rows(tmp_path: Path) -> None:
    clip, rng = np.arange(60) // 5, np.random.default_rng(0)
    y, points = clip % 3, rng.normal(size=(60, 2)).astype("f4")
    test = {"test_x": points[:30] + 0.3, "test_y": y[:30], "test_clip": clip[:30]}
    np.savez(tmp_path / "a.npz", x=points + y[:, None], y=y, clip=clip, **test)
    data = Arrays(str(tmp_path / "a.npz"), val_fraction=0.5, batch_size=16, eval_batch_size=7)
    method = CrossEntropy(3, PlainMLP)
    make_trainer(tmp_path, 2).fit(method, datamodule=data)
    for split, rows in {"test": torch.arange(30), "val": data.split.val}.items():
        inputs = (data.source.test if split == "test" else data.source.train).values[rows]  # type: ignore[union-attr]
        with torch.no_grad():
            probs = method.eval()(inputs).softmax(1)
        clips = sorted(set(clip[rows].tolist()))
        means = torch.stack([probs[torch.from_numpy(clip[rows] == name)].mean(0) for name in clips])
        assert method.epoch_metrics[f"{split}/acc_sample"] == _accuracy(means, torch.tensor(clips) % 3)
        assert method.epoch_metrics[f"{split}/acc_frame"] == _accuracy(probs, torch.from_numpy(y)[rows])
        assert method.epoch_metrics[f"{split}/acc_frame"] == method.epoch_metrics[f"{split}/acc"]
    assert len(data.split.val) == 30


@pytest.mark.parametrize("val_labels", ["given", "clean"])
def test_validation_on_given_labels_asks_what_the_method_expects_of_them(val_labels: Any, tmp_path: Path) -> None:
    shift = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])  # argmax p and argmax p T never agree
    np.save(tmp_path / "matrix.npy", shift)
    method = Forward(3, PlainMLP, str(tmp_path / "matrix.npy"))
    data = ToyData(num_train=60, noise=Symmetric(0.3), val_fraction=0.4, val_labels=val_labels, spread=2.0)
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(method, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Forward.load_from_checkpoint(tmp_path / "a.ckpt")
    make_trainer(tmp_path, 1).validate(again, datamodule=data, verbose=False)
    rows = data.split.val
    with torch.no_grad():
        probs = method.eval()(data.source.train.values[rows]).softmax(1)  # type: ignore[union-attr]
        test = method(data.source.test.values).softmax(1)  # type: ignore[union-attr]
    target = data.given_target[rows] if val_labels == "given" else data.clean_target[rows]
    if val_labels == "given":
        probs = probs @ torch.from_numpy(shift).float()
    losses = [-float(p[y].log()) for p, y in zip(probs, target, strict=True)]
    for metrics in (method.epoch_metrics, again.epoch_metrics):
        assert metrics["val/acc"] == pytest.approx(_accuracy(probs, target))
        assert metrics["val/loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        assert metrics["test/acc"] == pytest.approx(_accuracy(test, data.source.test_target)), "of the true labels, always"  # type: ignore[arg-type]
    assert "test/loss" not in method.epoch_metrics


def test_testing_a_loaded_method_repeats_its_accuracy(tmp_path: Path) -> None:
    method, trainer = CrossEntropy(3, PlainMLP), make_trainer(tmp_path, 2)
    trainer.fit(method, datamodule=ToyData())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = CrossEntropy.load_from_checkpoint(tmp_path / "a.ckpt")
    (found,) = make_trainer(tmp_path, 1).test(again, datamodule=ToyData(), verbose=False)
    assert found["test/acc"] == pytest.approx(method.epoch_metrics["test/acc"])


def test_predictions_name_their_rows(tmp_path: Path) -> None:
    method, data = CrossEntropy(3, PlainMLP), ToyData(num_test=20)
    batches = make_trainer(tmp_path, 1).predict(method, datamodule=data)
    assert batches is not None
    index = torch.cat([batch["index"] for batch in batches])  # type: ignore[call-overload]
    probs = torch.cat([batch["probs"] for batch in batches])  # type: ignore[call-overload]
    assert index.tolist() == list(range(20))
    torch.testing.assert_close(probs.sum(1), torch.ones(20))
    with torch.no_grad():
        expected = method.eval()(data.source.test.values).softmax(1)  # type: ignore[union-attr]
    torch.testing.assert_close(probs, expected)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")  # as one would call it
def test_data_that_is_not_of_noisylab_is_refused(tmp_path: Path) -> None:
    loader: Any = DataLoader(torch.zeros(4, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="CrossEntropy needs a noisylab data module"):
        make_trainer(tmp_path, 1).fit(CrossEntropy(3, PlainMLP), loader)


def test_data_with_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the data has 4 classes, the method was built for 3"):
        make_trainer(tmp_path, 1).fit(CrossEntropy(3, PlainMLP), datamodule=ToyData(classes=4))


def test_view_that_the_data_does_not_offer_is_refused(tmp_path: Path) -> None:
    class Asking(CrossEntropy):
        views = ("sideways",)

    with pytest.raises(ValueError, match="asks for the view 'sideways'; ToyData offers weak, strong, simclr, plain, eval"):
        make_trainer(tmp_path, 1).fit(Asking(3, PlainMLP), datamodule=ToyData())


def test_monitoring_the_test_set_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 1, (EarlyStopping("test/acc"),))
    with pytest.raises(ValueError, match="EarlyStopping monitors 'test/acc': a leak"):
        trainer.fit(CrossEntropy(3, PlainMLP), datamodule=ToyData())


def test_plateau_schedule_without_a_validation_split_is_refused(tmp_path: Path) -> None:
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    with pytest.raises(ValueError, match=r"needs a validation split; set data\.val_fraction"):
        make_trainer(tmp_path, 1).fit(CrossEntropy(3, PlainMLP, scheduler=plateau), datamodule=ToyData())


def _mean(values: list[float], mask: list[bool] | None = None) -> torch.Tensor:
    method = NoisyLabelMethod(2)
    method._trainer = type("Trainer", (), {"world_size": 1})()
    return method.mean(torch.tensor(values), None if mask is None else torch.tensor(mask))


def test_mean_over_a_mask_ignores_what_is_outside() -> None:
    assert float(_mean([1.0, 2.0, 6.0])) == 3.0
    assert float(_mean([1.0, 2.0, float("inf")], [True, True, False])) == 1.5
    assert float(_mean([1.0, 2.0], [False, False])) == 0.0


def test_dropout_draws_are_named_by_seed_and_step(tmp_path: Path) -> None:
    draws: list[float] = []

    class Drawing(CrossEntropy):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            draws.append(float(torch.rand(())))
            return super().training_step(batch, batch_idx)

    for seed in (0, 0, 1):
        torch.rand(len(draws))
        make_trainer(tmp_path, 2).fit(Drawing(3, PlainMLP), datamodule=ToyData(seed=seed))
    first, again, other = draws[:10], draws[10:20], draws[20:]
    assert first == again and len(set(first)) == 10
    assert not set(first) & set(other)
