"""Short runs, what they leave behind, and whether two of them left the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from noisylab.callbacks.checkpoint import RunCheckpoint
from noisylab.callbacks.curves import Curves
from noisylab.data.base import NoisyDataModule
from noisylab.methods.base import NoisyLabelMethod


def make_trainer(folder: Path, epochs: int, callbacks: tuple[L.Callback, ...] = (), **kwargs: Any) -> L.Trainer:
    """A silent trainer on the CPU."""
    options: dict[str, Any] = {
        "max_epochs": epochs,
        "callbacks": list(callbacks),
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(**{**options, **kwargs})


class SaveEveryBatch(L.Callback):
    """Saves to a file of its own after every batch, as a user's own callback would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.files.append(self.folder / f"batch-{len(self.files)}.ckpt")
        trainer.save_checkpoint(self.files[-1])


class KeepEpoch(Checkpoint):
    """Keeps what a run killed after an epoch would leave: its last checkpoint and its curves, in a folder of their own.

    Args:
        epoch: the epoch, counted from 0.
        folder: of the run.
    """

    def __init__(self, epoch: int, folder: Path) -> None:
        self.epoch, self.folder = epoch, folder
        self.kept = folder / f"killed-after-{epoch}"

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:  # among the last callbacks, after RunCheckpoint has saved
            self.kept.mkdir()
            for name in ("last.ckpt", "metrics.csv"):
                shutil.copyfile(self.folder / name, self.kept / name)


def fit(
    method: NoisyLabelMethod,
    data: NoisyDataModule,
    folder: Path,
    epochs: int,
    *,
    resume: Path | None = None,
    callbacks: tuple[L.Callback, ...] = (),
    last: tuple[L.Callback, ...] = (),
    **kwargs: Any,
) -> dict[str, Any]:
    """Train with noisylab's own callbacks, between `callbacks` and `last`, and return everything that a resume must restore."""
    curves = Curves(folder)
    own = (*callbacks, curves, RunCheckpoint(folder, every_n_minutes=None), *last)
    trainer = make_trainer(folder, epochs, own, **kwargs)
    trainer.fit(method, datamodule=data, ckpt_path=resume)
    return state_of(trainer, curves)


def state_of(trainer: L.Trainer, curves: Curves) -> dict[str, Any]:
    """Weights, optimizers, schedules, memory, counters and curves of a finished run."""
    method = trainer.lightning_module
    assert isinstance(method, NoisyLabelMethod)
    return {
        "networks": {name: value.clone() for name, value in method.networks.state_dict().items()},
        "memory": {name: method.memory[name].clone() for name in method.memory},
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedules": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "step": trainer.global_step,
        "epoch": trainer.current_epoch,
        "curves": list(curves.rows),
        "file": curves.path.read_text() if curves.path is not None and curves.path.exists() else None,
    }


def assert_same(first: Any, second: Any, where: str = "state") -> None:
    """Equal bit for bit; NaN equals NaN."""
    assert type(first) is type(second), f"{where}: {type(first)} and {type(second)}"
    if isinstance(first, Tensor):
        assert first.dtype == second.dtype and first.shape == second.shape, where
        same = (first == second) | ((first != first) & (second != second))
        assert bool(same.all()), f"{where}: {int((~same).sum())} of {same.numel()} values differ"
    elif isinstance(first, dict):
        assert list(first) == list(second), f"{where}: keys {list(first)} and {list(second)}"
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), f"{where}: {len(first)} and {len(second)} entries"
        for place, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}[{place}]")
    else:
        assert first == second or (first != first and second != second), f"{where}: {first!r} and {second!r}"
