"""Promise 3: kill it at any moment, resume, same result, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import (
    PACKAGED,
    AccumulatingDummy,
    DropoutMLP,
    KeepEpoch,
    PhasedDummy,
    SaveEveryBatch,
    SideStreamDummy,
    StagedDummy,
    ToyData,
    assert_same,
    fit,
)
from helpers.packaged import Maker
from lightning.pytorch.callbacks import ModelCheckpoint

from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.noise import Symmetric

METHODS: dict[str, Maker] = {
    **PACKAGED,
    "phased": partial(PhasedDummy, 3),
    "staged": partial(StagedDummy, 3),
    "side-stream": partial(SideStreamDummy, 3),
    "accumulating": partial(AccumulatingDummy, 3),
}
AUTOMATIC = [name for name, make in METHODS.items() if make(DropoutMLP).automatic_optimization]


def _data() -> ToyData:
    return ToyData(num_train=29, noise=Symmetric(0.4), val_fraction=0.15, seed=5)  # 25 rows: 8, 8 and 9


def _run(
    name: str,
    folder: Path,
    epochs: int,
    *,
    resume: Path | None = None,
    callbacks: tuple[L.Callback, ...] = (),
    **kwargs: Any,
) -> dict[str, Any]:
    # other weights and another random state than in the run that is resumed
    torch.manual_seed(0 if resume is None else 99)
    return fit(METHODS[name](DropoutMLP), _data(), folder, epochs, resume=resume, callbacks=(*callbacks, Diagnostics()), **kwargs)


@pytest.mark.parametrize("name", METHODS)
def test_resume_at_an_epoch_boundary_equals_the_straight_run(name: str, tmp_path: Path) -> None:
    keep = KeepEpoch(0, tmp_path)
    straight = _run(name, tmp_path, 3, last=(keep,))
    assert_same(_run(name, keep.kept, 3, resume=keep.kept / "last.ckpt"), straight)


def _assert_all_resume(name: str, files: list[Path], epochs: int, straight: dict[str, Any], **kwargs: Any) -> None:
    for file in files:
        torch.manual_seed(99)
        resumed = _run(name, file.with_suffix(""), epochs, resume=file, **kwargs)
        if resumed["file"] is None and torch.load(file, weights_only=True)["global_step"] == straight["step"]:
            resumed["file"] = straight["file"]  # nothing was left to train, so nothing was written in the new folder
        assert_same(resumed, straight, file.stem)


@dataclass
class _Saved:
    """A run that saves after every batch."""

    state: dict[str, Any]
    epochs: int
    files: list[Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], _Saved]:
    """The run of a method that saves after every batch, made once."""

    def run(name: str) -> _Saved:
        folder, epochs = tmp_path_factory.mktemp("saved"), 3 if name == "staged" else 2
        saver = SaveEveryBatch(folder)
        return _Saved(_run(name, folder / "straight", epochs, callbacks=(saver,)), epochs, saver.files)

    return cache(run)


@pytest.mark.parametrize("name", METHODS)
def test_resume_after_every_batch_equals_the_straight_run(name: str, saved: Callable[[str], _Saved]) -> None:
    run = saved(name)
    assert len(run.files) >= 2 * run.epochs  # a method may leave samples out
    _assert_all_resume(name, run.files, run.epochs, run.state)


@pytest.mark.parametrize("name", METHODS)
def test_saving_does_not_disturb_the_run(name: str, saved: Callable[[str], _Saved], tmp_path: Path) -> None:
    run = saved(name)
    assert_same(_run(name, tmp_path, run.epochs), run.state)


@pytest.mark.parametrize("name", AUTOMATIC)
def test_resume_in_the_middle_of_accumulated_gradients_equals_the_straight_run(name: str, tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    straight = _run(name, tmp_path / "straight", 2, callbacks=(saver,), accumulate_grad_batches=2)
    # what is asked for within the gradients of a step is postponed until it is made, as the next save is made there
    steps = [torch.load(file, weights_only=True)["global_step"] for file in saver.files]
    postponed = [file for file, now, after in zip(saver.files, steps, steps[1:], strict=False) if now == after]
    assert len(postponed) >= 2
    _assert_all_resume(name, postponed, 2, straight, accumulate_grad_batches=2)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")  # the resumed run saves nothing itself
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")  # what is saved is the state after the step
@pytest.mark.parametrize(("name", "place"), [("ce", "before"), ("ce", "after"), ("act", "after")])
def test_resume_from_lightnings_own_checkpoints_equals_the_straight_run(name: str, place: str, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{step:02d}", every_n_train_steps=1, save_top_k=-1)
    callbacks = {"callbacks": (saver,)} if place == "before" else {"last": (saver,)}
    straight = _run(name, tmp_path / "straight", 2, **callbacks)
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == straight["step"]
    _assert_all_resume(name, files, 2, straight)
