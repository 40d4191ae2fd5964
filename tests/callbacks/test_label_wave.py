"""Label Wave: the epoch in which predictions for the training samples are steadiest."""

from __future__ import annotations

import itertools
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import PACKAGED, DropoutMLP, KeepEpoch, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch import Tensor

from noisylab.callbacks import Curves, LabelWave, RunCheckpoint, RunSummary
from noisylab.cli.configuration.trainer import check_callbacks
from noisylab.cli.errors import UserError
from noisylab.memory.observations import add_observations
from noisylab.methods import CrossEntropy, DivideMix, SimCLR
from noisylab.noise import Symmetric

pytestmark = pytest.mark.filterwarnings("ignore:Label Wave:UserWarning")

CHANGED = [900, 620, 480, 500, 430, 410, 450, 470, 520, 500, 560]  # of epochs 2 to 12, counted from 1
ROWS = 1000


class Played(CrossEntropy):
    """Predicts, in each epoch, another class than before for as many samples as `CHANGED` says, whatever the network says."""

    played = torch.zeros(ROWS, dtype=torch.int64)

    def on_train_epoch_end(self) -> None:
        index = self.info.train_rows
        changes = CHANGED[self.current_epoch - 1] if self.current_epoch > 0 else 0
        self.played = torch.where(torch.arange(ROWS) < changes, (self.played + 1) % 3, self.played)
        add_observations(self.memory, self.current_epoch, index, torch.eye(3)[self.played], self.info.given_target[index])
        super().on_train_epoch_end()


def _played(folder: Path, wave: LabelWave, **more: Any) -> tuple[L.Trainer, Curves]:
    curves = Curves(folder)
    own = (wave, curves, RunSummary(folder), RunCheckpoint(folder / "checkpoints", every_n_minutes=None))
    data = ToyData(num_train=ROWS, batch_size=500, num_test=4)
    trainer = make_trainer(folder, 12, own, limit_train_batches=1, **more)
    trainer.fit(Played(3, DropoutMLP), datamodule=data)
    return trainer, curves


@pytest.mark.parametrize(("window", "patience", "minimum", "stop"), [(1, 1, 4, 5), (1, 2, 7, 9), (3, 1, 8, 9), (3, 3, 8, 11)])
def test_it_finds_the_first_minimum_and_trains_on(window: int, patience: int, minimum: int, stop: int, tmp_path: Path) -> None:
    wave = LabelWave(window, patience)
    trainer, curves = _played(tmp_path, wave)
    assert (wave.epoch, wave.stop_epoch, trainer.current_epoch) == (minimum - 1, stop - 1, 12)
    assert curves.series("label_wave/changed") == [(epoch, count / ROWS) for epoch, count in enumerate(CHANGED, 1)]
    means = [sum(CHANGED[end - window : end]) / window / ROWS for end in range(window, len(CHANGED) + 1)]
    assert [value for _, value in curves.series("label_wave/smoothed")] == pytest.approx(means, abs=1e-12)
    saved = torch.load(tmp_path / "checkpoints" / "label_wave.ckpt", weights_only=True)
    assert saved["epoch"] == minimum - 1


def test_it_ends_training(tmp_path: Path) -> None:
    trainer, _ = _played(tmp_path, LabelWave(mode="stop"))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert trainer.current_epoch == 9 and summary["ended_by"] == "LabelWave" and summary["complete"]
    assert torch.load(tmp_path / "checkpoints" / "label_wave.ckpt", weights_only=True)["epoch"] == 7
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 8


def test_it_does_not_end_training_before_the_least_number_of_epochs(tmp_path: Path) -> None:
    wave = LabelWave(mode="stop")
    trainer, _ = _played(tmp_path, wave, min_epochs=11)
    assert trainer.current_epoch == 11 and wave.stop_epoch == 8


def test_a_run_that_ended_here_trains_nothing_when_it_is_continued(tmp_path: Path) -> None:
    _played(tmp_path, LabelWave(mode="stop"))
    wave = LabelWave(mode="stop")
    own = (wave, Curves(tmp_path), RunSummary(tmp_path), RunCheckpoint(tmp_path / "checkpoints", every_n_minutes=None))
    trainer = make_trainer(tmp_path, 12, own, limit_train_batches=1)
    data = ToyData(num_train=ROWS, batch_size=500, num_test=4)
    trainer.fit(Played(3, DropoutMLP), datamodule=data, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert trainer.global_step == 9 and wave.epoch == 7 and wave.stopping_reason.value


def test_the_summary_has_the_epoch_and_its_accuracies(tmp_path: Path) -> None:
    _, curves = _played(tmp_path, LabelWave())
    found = json.loads((tmp_path / "summary.json").read_text())["label_wave"]
    assert (found["epoch"], found["stop_epoch"], found["followed_until"]) == (7, 8, 11)
    assert found["changed"] == pytest.approx(0.43) and found["checkpoint"] == "checkpoints/label_wave.ckpt"
    assert found["test_acc"] == dict(curves.series("test/acc"))[7] and found["val_acc"] is None
    assert (found["window"], found["patience"], found["mode"]) == (3, 1, "mark")
    assert found["warning"] is None and found["best_noisy_val_epoch"] is None


def _data(**more: Any) -> ToyData:
    return ToyData(**{"num_train": 40, "noise": Symmetric(0.4), "val_fraction": 0.2, "seed": 5, **more})


class Watch(L.Callback):
    """The predictions that each epoch's training steps observed, kept independently of the callback under test."""

    def __init__(self) -> None:
        self.seen: list[dict[int, int]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen.append({})
        original: Any = type(pl_module).observe

        def observe(index: Tensor, logits: Tensor, *args: Any) -> Any:
            self.seen[-1].update(zip(index.tolist(), logits.argmax(1).tolist(), strict=True))
            return original(pl_module, index, logits, *args)

        pl_module.observe = observe  # type: ignore[assignment]


def _expected(seen: list[dict[int, int]]) -> list[tuple[int, float]]:
    changed = [[a[row] != b[row] for row in a.keys() & b.keys()] for a, b in itertools.pairwise(seen)]
    return [(epoch, sum(rows) / len(rows)) for epoch, rows in enumerate(changed, 1)]


@pytest.mark.parametrize("name", ["ce", "elr", "coteaching"])
def test_the_signal_is_the_share_of_changed_predictions_of_the_training_steps(name: str, tmp_path: Path) -> None:
    watch, curves = Watch(), Curves(tmp_path)
    own = (watch, LabelWave(), curves, RunCheckpoint(tmp_path, every_n_minutes=None))
    make_trainer(tmp_path, 5, own).fit(PACKAGED[name](DropoutMLP), datamodule=_data())
    found = curves.series("label_wave/changed")
    assert found == _expected(watch.seen) and any(value > 0 for _, value in found)


@pytest.mark.parametrize("name", ["dividemix", "act"])
def test_methods_with_a_warm_up_are_followed_until_it_ends(name: str, tmp_path: Path) -> None:
    watch, curves, wave = Watch(), Curves(tmp_path), LabelWave(window=2)
    method = PACKAGED[name](DropoutMLP, warmup_epochs=4)
    own = (watch, wave, curves, RunCheckpoint(tmp_path, every_n_minutes=None))
    make_trainer(tmp_path, 6, own).fit(method, datamodule=_data())
    assert curves.series("label_wave/changed") == _expected(watch.seen[:4])
    assert wave.epoch is not None and wave.epoch < 4


def test_stages_are_followed_through_the_first_alone(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    method = PACKAGED["forward"](DropoutMLP, warmup_epochs=3)
    make_trainer(tmp_path, 5, (LabelWave(), curves, RunCheckpoint(tmp_path))).fit(method, datamodule=_data())
    assert [epoch for epoch, _ in curves.series("label_wave/changed")] == [1, 2]


def test_stopping_in_a_warm_up_is_refused(tmp_path: Path) -> None:
    method, wave = DivideMix(3, DropoutMLP, warmup_epochs=2), LabelWave(mode="stop")
    with pytest.raises(UserError, match=r"LabelWave\(mode='stop'\) would end DivideMix in its first stage.*use mode='mark'"):
        check_callbacks([wave], False, method, 6)
    check_callbacks([wave], False, method, 2)  # a run that is nothing but the warm-up
    trainer = make_trainer(tmp_path, 6, (wave, Curves(tmp_path), RunCheckpoint(tmp_path)))
    with pytest.raises(ValueError, match="would end DivideMix in its first stage"):
        trainer.fit(method, datamodule=_data())


def test_a_method_that_learns_no_labels_is_refused() -> None:
    with pytest.raises(UserError, match="follows predictions of labels, and SimCLR learns none; leave it out"):
        check_callbacks([LabelWave()], False, SimCLR(3, DropoutMLP), 6)


def test_a_method_that_sees_mixed_inputs_alone_has_no_signal(tmp_path: Path) -> None:
    curves, wave = Curves(tmp_path), LabelWave()
    own = (wave, curves, RunSummary(tmp_path), RunCheckpoint(tmp_path))
    with pytest.warns(UserWarning, match="Label Wave has no signal: CrossEntropy saw no sample in two epochs"):
        make_trainer(tmp_path, 3, own).fit(CrossEntropy(3, DropoutMLP, mixup_alpha=1.0), datamodule=_data())
    assert curves.series("label_wave/changed") == [] and wave.epoch is None
    assert json.loads((tmp_path / "summary.json").read_text())["label_wave"]["epoch"] is None


def test_a_minimum_next_to_a_change_of_the_learning_rate_is_told(tmp_path: Path) -> None:
    def run(scheduler: Any, folder: Path) -> LabelWave:
        wave = LabelWave(window=1)
        method = Played(3, DropoutMLP, scheduler=scheduler)
        own = (wave, Curves(folder), RunCheckpoint(folder, every_n_minutes=None))
        data = ToyData(num_train=ROWS, batch_size=500, num_test=4)
        make_trainer(folder, 6, own, limit_train_batches=1).fit(method, datamodule=data)
        return wave

    step = partial(torch.optim.lr_scheduler.MultiStepLR, gamma=0.1)
    with pytest.warns(UserWarning, match=r"steadiest in epoch 3, settled in epoch 4.*the learning rate changed meanwhile"):
        assert run(partial(step, milestones=[3]), tmp_path / "near").rate_changed
    with pytest.warns(UserWarning, match="would make minima of its own"):
        assert not run(partial(step, milestones=[2]), tmp_path / "far").rate_changed


def test_choices_that_lie_far_apart_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave, curves = LabelWave(), Curves(tmp_path)
    data = _data()
    trainer = make_trainer(tmp_path, 2, (wave, curves, RunCheckpoint(tmp_path)))
    trainer.fit(CrossEntropy(3, DropoutMLP), datamodule=data)

    def far(best: int, **more: Any) -> str | None:
        wave._epochs, wave._changed, wave._compared = list(range(1, 41)), [abs(e - 20) for e in range(1, 41)], [40] * 40
        accuracies = [0.5 + 0.4 * (epoch == best) for epoch in range(60)]
        curves.rows = [(epoch, epoch, "val/acc", value) for epoch, value in enumerate(accuracies)]
        found = wave.report(trainer)
        assert found["epoch"] == 21 and found["best_noisy_val_epoch"] == best
        return found["warning"]  # type: ignore[no-any-return]

    assert far(11) is None and far(31) is None
    assert "chooses epoch 21, the accuracy on held-out given labels epoch 10" in str(far(10))
    assert far(32) is not None
    data.val_labels = "clean"
    assert wave.report(trainer)["best_noisy_val_epoch"] is None, "clean labels have no say"


@pytest.mark.parametrize("name", ["ce", "coteaching"])
def test_a_resumed_run_is_the_same(name: str, tmp_path: Path) -> None:
    def run(folder: Path, *more: L.Callback, resume: Path | None = None) -> tuple[LabelWave, dict[str, Any]]:
        wave = LabelWave(window=2)
        return wave, fit(PACKAGED[name](DropoutMLP), _data(), folder, 5, resume=resume, callbacks=(*more, wave))

    saver = SaveEveryBatch(tmp_path)
    wave, straight = run(tmp_path / "straight", saver)
    assert wave.epoch is not None
    kept = torch.load(tmp_path / "straight" / "label_wave.ckpt", weights_only=True)
    per_epoch = len(saver.files) // 5
    for place in (1, 2 * per_epoch - 1, 3 * per_epoch + 1):  # within the first, at the end of the second, within the fourth epoch
        torch.manual_seed(99)
        again, resumed = run(tmp_path / f"{place}", resume=saver.files[place])
        assert_same({**resumed, "file": None}, {**straight, "file": None})
        assert_same(again.state_dict(), wave.state_dict())
        file = tmp_path / f"{place}" / "label_wave.ckpt"
        if file.exists():  # the minimum came after the place
            assert_same(torch.load(file, weights_only=True)["state_dict"], kept["state_dict"])


def test_the_kept_checkpoint_continues_the_run(tmp_path: Path) -> None:
    wave = LabelWave(window=1)
    straight = fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path, 6, callbacks=(wave,))
    assert wave.epoch is not None and wave.epoch < 5, "the minimum must come early for this test to say something"
    torch.manual_seed(99)
    resumed = fit(
        CrossEntropy(3, DropoutMLP),
        _data(),
        tmp_path / "again",
        6,
        resume=tmp_path / "label_wave.ckpt",
        callbacks=(LabelWave(window=1),),
    )
    assert_same({**resumed, "file": None}, {**straight, "file": None})


def test_an_epoch_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    wave, curves = LabelWave(), Curves(tmp_path)
    own = (wave, curves, RunCheckpoint(tmp_path, every_n_minutes=None))
    make_trainer(tmp_path, 6, own, max_steps=10).fit(CrossEntropy(3, DropoutMLP), datamodule=_data(batch_size=8))  # 4 a pass
    assert [epoch for epoch, _ in curves.series("label_wave/changed")] == [1]


def test_another_window_does_not_continue(tmp_path: Path) -> None:
    keep = KeepEpoch(1, tmp_path)
    fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path, 2, callbacks=(LabelWave(),), last=(keep,))
    with pytest.raises(ValueError, match=r"LabelWave\(window=3, patience=1\), and this one has window=2 and patience=1"):
        fit(
            CrossEntropy(3, DropoutMLP),
            _data(),
            tmp_path / "x",
            3,
            resume=keep.kept / "last.ckpt",
            callbacks=(LabelWave(window=2),),
        )


def test_a_run_that_is_joined_later_says_so(tmp_path: Path) -> None:
    keep = KeepEpoch(1, tmp_path)
    fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path, 2, last=(keep,))
    wave = LabelWave()
    with pytest.warns(UserWarning, match="follows this run from epoch 2 on"):
        fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path / "x", 5, resume=keep.kept / "last.ckpt", callbacks=(wave,))
    assert wave._epochs == [3, 4]


def test_its_place_among_the_callbacks_is_checked(tmp_path: Path) -> None:
    for own, message in (
        ((Curves(tmp_path), LabelWave(), RunCheckpoint(tmp_path)), "must come before Curves and RunCheckpoint"),
        ((LabelWave(), Curves(tmp_path)), "needs a RunCheckpoint"),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(tmp_path, 2, own).fit(CrossEntropy(3, DropoutMLP), datamodule=_data())


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("patience", 0), ("mode", "keep")])
def test_wrong_arguments_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
        LabelWave(**{name: value})


def test_nothing_is_found_before_a_window_is_full(tmp_path: Path) -> None:
    wave = LabelWave()
    with pytest.warns(UserWarning, match="no minimum in 2 epochs with a signal; no window was full"):
        fit(CrossEntropy(3, DropoutMLP), _data(), tmp_path, 3, callbacks=(wave,))
    assert wave.epoch is None and math.isnan(wave.found.smoothed[-1])
