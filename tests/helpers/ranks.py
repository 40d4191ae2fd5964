"""One of two processes that train together: ``python -m helpers.ranks RANK PORT FOLDER``.

For each method: a straight run that saves in the middle and at the end of its first epoch, which is then resumed from either
place; a run with batch statistics, resumed too; and a run with fewer rows to evaluate on than ranks. Then a run in which one rank
has no row of any batch. What each rank ends up with is written to FOLDER, where the runs of one process lie.
"""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from helpers.dummies import PhasedDummy, SideStreamDummy, StagedDummy
from helpers.packaged import PACKAGED, Maker, Selections, written_rows
from helpers.runs import fit, make_trainer
from helpers.toy import BatchNormMLP, PlainMLP, ToyData
from noisylab.callbacks.diagnostics import Diagnostics
from noisylab.cli.running.app import _choose_strategy
from noisylab.methods import CrossEntropy, NoisyLabelMethod
from noisylab.noise import Symmetric
from noisylab.types import EvalBatch, PlanBatch

METHODS: dict[str, Maker] = {
    **PACKAGED,
    "phased": partial(PhasedDummy, 3),
    "staged": partial(StagedDummy, 3),
    "side-stream": partial(SideStreamDummy, 3),
}
PLACES = ("middle", "end")


class _SaveTwice(L.Callback):
    """Saves in the middle of the first epoch, and after its last batch, which waits for the epoch's end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last = int(trainer.num_training_batches) - 1
        if trainer.current_epoch == 0 and batch_idx in ((last - 1) // 2, last):
            trainer.save_checkpoint(self.folder / f"{PLACES[batch_idx == last]}.ckpt")


class _AsTheCommand(L.Callback):
    """The strategy is set up as ``noisylab fit`` does it; hooks named ``setup`` come before the networks are wrapped."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        _choose_strategy(trainer)


def _watch_draws(method: NoisyLabelMethod) -> list[bool]:
    """Whether each training step of `method` will have drawn from torch's generator: what it draws differs from rank to rank."""
    original, found = method.training_step, []

    def training_step(batch: PlanBatch, batch_idx: int) -> Any:
        before = torch.get_rng_state()
        loss = original(batch, batch_idx)
        found.append(not torch.equal(before, torch.get_rng_state()))
        return loss

    method.training_step = training_step  # type: ignore[method-assign]
    return found


def run(
    name: str, folder: Path, *, resume: Path | None = None, network: Any = PlainMLP, few: bool = False, **kwargs: Any
) -> dict[str, Any]:
    """A run of `name`; the last batch of 29 rows in batches of 8 is odd, so the ranks' shares differ.

    Args:
        name: the method.
        folder: of the run.
        resume: checkpoint to go on from.
        network: of every role.
        few: evaluate on one held-out row and one test row, after a single epoch.
        **kwargs: of the trainer.
    """
    sizes = {"num_test": 1, "val_fraction": 0.03} if few else {"val_fraction": 0.15}
    data = ToyData(num_train=34, noise=Symmetric(0.4), seed=5, **sizes)
    torch.manual_seed(0 if resume is None else 99)
    method, selections = METHODS[name](network), Selections()
    draws = _watch_draws(method)
    callbacks = (*(() if resume or few else (_SaveTwice(folder),)), selections, Diagnostics(), _AsTheCommand())
    state = fit(method, data, folder, 1 if few else 2, resume=resume, callbacks=callbacks, **kwargs)
    written = written_rows(method)
    return {**state, "selections": selections.found[-1], "written": written, "draws": any(draws)}


def run_single_rows(folder: Path, **kwargs: Any) -> dict[str, Any]:
    """Batches of one row: of two ranks, one has none."""
    torch.manual_seed(0)
    data = ToyData(num_train=6, batch_size=1)
    return fit(CrossEntropy(3, PlainMLP), data, folder, 1, callbacks=(_AsTheCommand(),), **kwargs)


def scored() -> dict[str, Tensor]:
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

    method = Scoring(3, PlainMLP)
    trainer = make_trainer(Path(), 1, (_AsTheCommand(),), devices=2)
    trainer.fit(method, datamodule=ToyData(num_train=34, val_fraction=0.15, eval_batch_size=4))
    return {"measured": measured, "mask": method.mask, **method.tables, "one": method.one["row"], "one_mask": method.one_mask}


def main(rank: int, port: int, folder: Path) -> None:
    """Everything this rank does; what fails comes last, so that the rest is there."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({key: str(value) for key, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)  # lightning 2.6

    def both(name: str, run_name: str, **kwargs: Any) -> dict[str, Any]:
        state = run(name, folder / run_name, devices=2, **kwargs)
        torch.save(state, folder / f"{run_name}-{rank}.pt")
        return state

    for name in METHODS:
        straight = both(name, f"two-{name}")
        for where in PLACES:
            # what ranks draw is not what one process draws: such a run can only go on as it began
            begun = folder / f"{'two' if straight['draws'] else 'one'}-{name}" / f"{where}.ckpt"
            both(name, f"resumed-{name}-{where}", resume=begun)
    torch.save(scored(), folder / f"scored-{rank}.pt")
    for name in PACKAGED:
        both(name, f"norm-{name}", network=BatchNormMLP)
        both(name, f"norm-resumed-{name}", network=BatchNormMLP, resume=folder / f"norm-{name}" / "middle.ckpt")
    for name in PACKAGED:
        both(name, f"few-{name}", few=True)
    torch.save(run_single_rows(folder / "single", devices=2), folder / f"single-{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
