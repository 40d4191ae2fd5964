"""Promise 3: kill it at any moment, resume, same result, bit for bit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import (
    PACKAGED,
    AccumulatingDummy,
    DropoutMLP,
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
    straight = _run(name, tmp_path / "straight", 3)
    _run(name, tmp_path / "killed", 1)
    resumed = _run(name, tmp_path / "killed", 3, resume=tmp_path / "killed" / "last.ckpt")
    assert_same(resumed, straight)


def _assert_all_resume(name: str, files: list[Path], epochs: int, straight: dict[str, Any], **kwargs: Any) -> None:
    for file in files:
        torch.manual_seed(99)
        resumed = _run(name, file.with_suffix(""), epochs, resume=file, **kwargs)
        if resumed["file"] is None and torch.load(file, weights_only=True)["global_step"] == straight["step"]:
            resumed["file"] = straight["file"]  # nothing was left to train, so nothing was written in the new folder
        assert_same(resumed, straight, file.stem)


@pytest.mark.parametrize("name", METHODS)
def test_resume_after_every_batch_equals_the_straight_run(name: str, tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    epochs = 3 if name == "staged" else 2
    straight = _run(name, tmp_path / "straight", epochs, callbacks=(saver,))
    assert len(saver.files) >= 2 * epochs  # a method may leave samples out
    _assert_all_resume(name, saver.files, epochs, straight)


@pytest.mark.parametrize("name", METHODS)
def test_saving_does_not_disturb_the_run(name: str, tmp_path: Path) -> None:
    saved = _run(name, tmp_path / "saved", 2, callbacks=(SaveEveryBatch(tmp_path),))
    assert_same(_run(name, tmp_path / "undisturbed", 2), saved)


@pytest.mark.parametrize("name", AUTOMATIC)
def test_resume_in_the_middle_of_accumulated_gradients_equals_the_straight_run(name: str, tmp_path: Path) -> None:
    saver = SaveEveryBatch(tmp_path)
    straight = _run(name, tmp_path / "straight", 2, callbacks=(saver,), accumulate_grad_batches=2)
    _assert_all_resume(name, saver.files, 2, straight, accumulate_grad_batches=2)


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
