"""One of two processes that train together: ``python -m helpers.choice_ranks RANK PORT FOLDER``.

Runs with `LabelWave` and `HeldOutLabels`: to the end, resumed from the middle of an epoch, and stopped at the minimum. What each
rank found is written to FOLDER.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch

from helpers.packaged import PACKAGED
from helpers.runs import SaveEveryBatch, make_trainer
from helpers.toy import PlainMLP, ToyData
from noisylab.callbacks import Curves, HeldOutLabels, LabelWave, RunCheckpoint, RunSummary
from noisylab.cli.running.app import _choose_strategy
from noisylab.noise import Symmetric

METHODS = ("ce", "coteaching")
EPOCHS = 8


class _AsTheCommand(L.Callback):
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        _choose_strategy(trainer)


def run(
    name: str, folder: Path, mode: Literal["mark", "stop"] = "mark", resume: Path | None = None, **kwargs: Any
) -> dict[str, Any]:
    """What a run found; 29 rows in batches of 8, so that the ranks' shares differ, and 5 held-out ones."""
    torch.manual_seed(0 if resume is None else 99)
    data = ToyData(num_train=34, noise=Symmetric(0.4), seed=5, val_fraction=0.15)
    wave, curves = LabelWave(window=2, mode=mode), Curves(folder)
    saver = () if resume is not None else (SaveEveryBatch(folder),)
    own = (*saver, _AsTheCommand(), wave, curves, HeldOutLabels(folder))
    own = (*own, RunSummary(folder), RunCheckpoint(folder, every_n_minutes=None))
    trainer = make_trainer(folder, EPOCHS, own, **kwargs)
    trainer.fit(PACKAGED[name](PlainMLP), datamodule=data, ckpt_path=resume)
    rows = [row for row in curves.rows if row[2].startswith("label_wave/")]
    return {"rows": rows, "state": wave.state_dict(), "epochs": trainer.current_epoch, "epoch": wave.epoch}


def main(rank: int, port: int, folder: Path) -> None:
    """Everything this rank does."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({key: str(value) for key, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Label Wave")
    for name in METHODS:
        torch.save(run(name, folder / f"two-{name}", devices=2), folder / f"two-{name}-{rank}.pt")
        resume = folder / f"two-{name}" / "batch-9.ckpt"  # within the third epoch
        torch.save(run(name, folder / f"resumed-{name}", resume=resume, devices=2), folder / f"resumed-{name}-{rank}.pt")
        torch.save(run(name, folder / f"stopped-{name}", "stop", devices=2), folder / f"stopped-{name}-{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
