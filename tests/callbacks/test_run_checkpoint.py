from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import DropoutMLP, PlainMLP, SaveEveryBatch, ToyData, assert_same, fit, make_trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from noisylab.callbacks.checkpoint import RunCheckpoint
from noisylab.callbacks.curves import Curves
from noisylab.checkpoints.atomic import damage
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod, TRevision
from noisylab.noise import Symmetric


class _Saves(L.Callback):
    """Which file was saved at which step, by whom it may be."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        original = trainer.strategy.save_checkpoint

        def save_checkpoint(checkpoint: Any, filepath: Any, storage_options: Any = None) -> None:
            self.steps.append((Path(filepath).name, checkpoint["global_step"]))
            original(checkpoint, filepath, storage_options)

        trainer.strategy.save_checkpoint = save_checkpoint  # type: ignore[method-assign]


def _saves(folder: Path, epochs: int = 2, data: ToyData | None = None, **options: Any) -> list[tuple[str, int]]:
    saves, trainer_options = _Saves(), options.pop("trainer", {})
    callbacks = (*options.pop("callbacks", ()), saves, RunCheckpoint(folder, **{"every_n_minutes": None, **options}))
    data = data or ToyData()  # 40 rows in batches of 8
    make_trainer(folder, epochs, callbacks, **trainer_options).fit(CrossEntropy(3, PlainMLP), datamodule=data)
    return saves.steps


def test_every_epoch_ends_with_a_checkpoint(tmp_path: Path) -> None:
    assert _saves(tmp_path) == [("last.ckpt", 5), ("last.ckpt", 10)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.ckpt.previous"]


def test_saves_every_n_steps_but_not_after_the_last_batch(tmp_path: Path) -> None:
    assert [step for _, step in _saves(tmp_path, every_n_steps=2)] == [2, 4, 5, 7, 9, 10]
    assert [step for _, step in _saves(tmp_path, every_n_steps=5)] == [5, 10]


def test_saves_when_minutes_have_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("noisylab.callbacks.checkpoint.time.monotonic", monotonic)
    steps = [step for _, step in _saves(tmp_path, every_n_minutes=1.5 / 60)]
    assert set(steps) >= {5, 10} and set(steps) & {2, 3, 4}


def test_best_follows_the_validation_accuracy(tmp_path: Path) -> None:
    data = ToyData(num_train=60, val_fraction=0.3, spread=2.0, noise=Symmetric(0.3))
    curves, own = Curves(), RunCheckpoint(tmp_path, every_n_minutes=None)
    make_trainer(tmp_path, 5, (curves, own)).fit(CrossEntropy(3, PlainMLP), datamodule=data)
    accuracies = [value for _, value in curves.series("val/acc")]
    first_best = accuracies.index(max(accuracies))
    assert own.best == (max(accuracies), first_best)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == first_best
    again = RunCheckpoint(tmp_path)
    again.load_state_dict(own.state_dict())
    assert again.best == own.best


class _Accuracies(L.Callback):
    """Says what the validation accuracy of each epoch was."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        pl_module.epoch_metrics["val/acc"] = self.values[trainer.current_epoch]


def test_best_is_that_of_the_stage_begun_last(tmp_path: Path) -> None:
    accuracies, found = [0.9, 0.8, 0.3, 0.2, 0.2, 0.4, 0.4], []  # stages of two epochs, of two, and of the rest

    def run(epochs: int, resume: Path | None = None) -> RunCheckpoint:
        own = RunCheckpoint(tmp_path, every_n_minutes=None)
        method = TRevision(3, PlainMLP, estimate_epochs=2, reweight_epochs=2, hand_over="last")
        trainer = make_trainer(tmp_path, epochs, (_Accuracies(accuracies), own))
        trainer.fit(method, datamodule=ToyData(val_fraction=0.2), ckpt_path=resume)
        return own

    for epochs in range(1, 8):
        own = run(epochs, tmp_path / "last.ckpt" if epochs > 1 else None)
        assert own.best is not None
        found.append(own.best)
        assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == own.best[1]
    assert found == [(0.9, 0), (0.9, 0), (0.3, 2), (0.3, 2), (0.2, 4), (0.4, 5), (0.4, 5)]
    assert run(7, tmp_path / "last.ckpt").best == (0.4, 5)


def test_sanity_validation_is_no_epoch_to_choose_from(tmp_path: Path) -> None:
    own = RunCheckpoint(tmp_path, every_n_minutes=None)
    trainer = make_trainer(tmp_path, 1, (own,), num_sanity_val_steps=2, check_val_every_n_epoch=2)
    method = CrossEntropy(3, PlainMLP)
    trainer.fit(method, datamodule=ToyData(val_fraction=0.2))
    assert own.best is None and method.last_accuracy("val") is None


def test_without_a_validation_split_nothing_is_best(tmp_path: Path) -> None:
    _saves(tmp_path)
    assert not (tmp_path / "best.ckpt").exists()


def test_saves_of_others_after_the_last_batch_wait_for_the_end_of_the_epoch(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    names = _saves(tmp_path, 1, callbacks=(saver,))
    assert names == [*((f"batch-{place}.ckpt", place + 1) for place in range(5)), ("last.ckpt", 5)]
    loop = torch.load(saver.files[-1], weights_only=True)["loops"]["fit_loop"]
    assert loop["epoch_progress"]["current"]["processed"] == 1, "the epoch counts as complete"


def test_saves_wait_for_the_accumulated_update(tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    names = dict(_saves(tmp_path, 1, callbacks=(saver,), trainer={"accumulate_grad_batches": 3}))
    assert [names[f"batch-{place}.ckpt"] for place in range(5)] == [1, 1, 1, 2, 2]


class _Kill(L.Callback):
    """Sends SIGTERM to this process before the update of batch number `at`, or in the validation after it."""

    def __init__(self, at: int, during: str) -> None:
        self.at, self.during = at, during

    def _kill(self, trainer: L.Trainer, during: str) -> None:
        if (trainer.fit_loop.total_batch_idx, during) == (self.at, self.during):
            self.at = -1
            os.kill(os.getpid(), signal.SIGTERM)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Any) -> None:
        self._kill(trainer, "update")

    def on_validation_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._kill(trainer, "validation")


@pytest.mark.parametrize(
    ("at", "during", "saved", "options"),
    [
        (0, "update", 1, {}),
        (2, "update", 3, {}),
        (4, "update", 5, {}),
        (4, "validation", 5, {}),
        (7, "update", 8, {}),
        (9, "validation", 10, {}),
        (1, "update", 3, {"val_check_interval": 2}),
        (1, "validation", 3, {"val_check_interval": 2}),
        (0, "update", 1, {"accumulate_grad_batches": 2}),
    ],
)
def test_terminated_run_saves_and_resumes_to_the_same_result(
    at: int, during: str, saved: int, options: dict[str, Any], tmp_path: Path
) -> None:
    def run(folder: str, **kwargs: Any) -> dict[str, Any]:
        # two batches of validation: Lightning would stop between them
        data = ToyData(num_train=50, val_fraction=0.2, eval_batch_size=5)
        return fit(CrossEntropy(3, DropoutMLP), data, tmp_path / folder, 2, **options, **kwargs)

    torch.manual_seed(0)
    straight = run("straight")
    torch.manual_seed(0)
    with pytest.raises(SystemExit):
        run("killed", callbacks=(_Kill(at, during),))
    last = tmp_path / "killed" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == saved
    torch.manual_seed(99)
    assert_same(run("killed", resume=last), straight)


_LIMITS: dict[str, dict[str, Any]] = {
    "steps-alone": {"max_steps": 8, "max_epochs": -1},
    "steps-of-whole-epochs": {"max_steps": 10},
    "validation-within-the-epoch": {"val_check_interval": 3},
    "validation-every-second-epoch": {"check_val_every_n_epoch": 2},
}
_LIMITED: dict[str, Callable[[], NoisyLabelMethod]] = {
    "ce": lambda: CrossEntropy(3, DropoutMLP, scheduler=partial(ReduceLROnPlateau, mode="max", patience=0, factor=0.5)),
    "act": lambda: ACT(3, DropoutMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3"),
}


@pytest.mark.parametrize(
    ("name", "limit"),
    [*(("act", limit) for limit in _LIMITS), *(("ce", limit) for limit in _LIMITS if limit.startswith("val"))],
)
def test_resume_under_other_limits_and_validations(name: str, limit: str, tmp_path: Path) -> None:
    def run(folder: str, resume: Path | None = None, callbacks: tuple[L.Callback, ...] = ()) -> dict[str, Any]:
        torch.manual_seed(0 if resume is None else 99)
        data = ToyData(num_train=50, val_fraction=0.2, spread=2.0)
        return fit(_LIMITED[name](), data, tmp_path / folder, 2, resume=resume, callbacks=callbacks, **_LIMITS[limit])

    saver = SaveEveryBatch(tmp_path)
    straight = run("straight", callbacks=(saver,))
    assert straight["step"] == _LIMITS[limit].get("max_steps", 10)
    for place in (0, 2, 4, 5, 7):
        resumed = run(f"resumed-{place}", resume=saver.files[place])
        resumed["file"] = resumed["file"] or straight["file"]  # a finished run writes nothing in a new folder
        assert_same(resumed, straight, saver.files[place].stem)


def test_method_of_another_kind_is_not_checkpointed_silently(tmp_path: Path) -> None:
    class Other(L.LightningModule):
        """Not one of noisylab."""

    own = RunCheckpoint(tmp_path)
    trainer = make_trainer(tmp_path, 1, (own,))
    with pytest.raises(AssertionError):
        own.on_train_epoch_end(trainer, Other())


class _Ends(L.Callback):
    """Ends the run after batch number `at`, as `max_time` does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop |= trainer.fit_loop.total_batch_idx == self.at


@pytest.mark.parametrize("at", [0, 2, 4, 6])
@pytest.mark.parametrize("name", ["ce", "act"])
def test_a_run_that_is_ended_within_an_epoch_resumes_there(name: str, at: int, tmp_path: Path) -> None:
    def run(folder: str, **kwargs: Any) -> dict[str, Any]:
        torch.manual_seed(99 if "resume" in kwargs else 0)
        return fit(_LIMITED[name](), ToyData(num_train=50, val_fraction=0.2), tmp_path / folder, 2, **kwargs)

    straight = run("straight")
    ended = run("ended", callbacks=(_Ends(at),))
    assert ended["step"] == at + 1
    assert_same(run("ended", resume=tmp_path / "ended" / "last.ckpt"), straight)


def test_a_method_that_was_never_fitted_can_be_saved(tmp_path: Path) -> None:
    trainer, method = make_trainer(tmp_path, 1), CrossEntropy(3, PlainMLP)
    trainer.strategy.connect(method)
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    again = CrossEntropy.load_from_checkpoint(tmp_path / "new.ckpt")
    assert_same(dict(again.networks.state_dict()), dict(method.networks.state_dict()))
    trainer.test(method, datamodule=ToyData(), verbose=False)
    trainer.save_checkpoint(tmp_path / "tested.ckpt")
    assert damage(tmp_path / "tested.ckpt") is None


def test_nothing_of_a_failed_run_holds_back_a_later_save(tmp_path: Path) -> None:
    class Fails(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.is_last_batch:
                raise RuntimeError("in the last batch")

    trainer = make_trainer(tmp_path, 1, (RunCheckpoint(tmp_path), Fails()))
    with pytest.raises(RuntimeError, match="in the last batch"):
        trainer.fit(CrossEntropy(3, PlainMLP), datamodule=ToyData())
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    assert (tmp_path / "after.ckpt").exists()


def test_a_resume_on_other_data_is_refused_and_another_seed_is_said(tmp_path: Path) -> None:
    fit(CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.4)), tmp_path, 1)
    with pytest.raises(ValueError, match="other labels or rows"):
        fit(CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.2)), tmp_path, 2, resume=tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match="another seed 0, now 7"):
        fit(CrossEntropy(3, PlainMLP), ToyData(noise=Symmetric(0.4), seed=7), tmp_path, 2, resume=tmp_path / "last.ckpt")
