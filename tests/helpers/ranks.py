"""One of two processes that train together: ``python -m helpers.ranks RANK PORT FOLDER``.

For each method: a straight run of two epochs that saves after every batch; then the runs of one process that lie in FOLDER are
resumed. What each rank ends up with is written to FOLDER.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from helpers.dummies import PhasedDummy, SideStreamDummy, StagedDummy
from helpers.runs import SaveEveryBatch, fit
from helpers.toy import PlainMLP, ToyData
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.methods import ACT, CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric
from noisylab.types import EvalBatch

EPOCHS = 2

METHODS: dict[str, Callable[[], NoisyLabelMethod]] = {
    "ce": lambda: CrossEntropy(3, PlainMLP, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "act": lambda: ACT(3, PlainMLP, warmup_epochs=1, lr_plan="cosine:1,1e-3,3"),
    "phased": lambda: PhasedDummy(3, PlainMLP),
    "staged": lambda: StagedDummy(3, PlainMLP),
    "side-stream": lambda: SideStreamDummy(3, PlainMLP),
}


def run(name: str, folder: Path, *, resume: Path | None = None, save: bool = False, **kwargs: Any) -> dict[str, Any]:
    """A run of `name`; the last batch of 29 rows in batches of 8 is odd, so the ranks' shares differ."""
    data = ToyData(num_train=34, noise=Symmetric(0.4), val_fraction=0.15, seed=5)
    torch.manual_seed(0 if resume is None else 99)
    method = METHODS[name]()
    saver = SaveEveryBatch(folder)
    state = fit(method, data, folder, EPOCHS, resume=resume, callbacks=(*((saver,) if save else ()), Diagnostics()), **kwargs)
    state["files"] = [file.name for file in saver.files]
    return state


def scored(rank: int, strategy: Any) -> dict[str, Tensor]:
    """What a scoring pass returns, with how often each row was measured on this rank."""
    measured = torch.zeros(34, dtype=torch.int64)

    class Scoring(CrossEntropy):
        def on_train_epoch_end(self) -> None:
            def measure(batch: EvalBatch) -> dict[str, Tensor]:
                measured[batch.index] += 1
                return {"row": batch.index, "even": batch.index % 2 == 0, "pair": torch.stack([batch.index, batch.target], 1)}

            self.tables, self.mask = self.score(measure)
            self.one, self.one_mask = self.score(lambda batch: {"row": batch.index}, torch.tensor([7]))
            super().on_train_epoch_end()

    from helpers.runs import make_trainer

    method = Scoring(3, PlainMLP)
    trainer = make_trainer(Path(), 1, devices=2, strategy=strategy)
    trainer.fit(method, datamodule=ToyData(num_train=34, val_fraction=0.15, eval_batch_size=4))
    return {"measured": measured, "mask": method.mask, **method.tables, "one": method.one["row"], "one_mask": method.one_mask}


def main(rank: int, port: int, folder: Path) -> None:
    """Everything this rank does."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({key: str(value) for key, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)  # lightning 2.6

    def strategy() -> DDPStrategy:
        return DDPStrategy(process_group_backend="gloo", find_unused_parameters=True)

    for name in METHODS:
        two = {"devices": 2, "strategy": strategy()}
        torch.save(run(name, folder / f"two-{name}", save=True, **two), folder / f"two-{name}-{rank}.pt")
        for file in sorted((folder / f"one-{name}").glob("batch-*.ckpt")):
            two = {"devices": 2, "strategy": strategy()}
            state = run(name, folder / f"resumed-{name}-{file.stem}", resume=file, **two)
            torch.save(state, folder / f"resumed-{name}-{file.stem}-{rank}.pt")
    torch.save(scored(rank, strategy()), folder / f"scored-{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
