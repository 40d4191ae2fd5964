"""What tests of semi-supervised methods share: recorded runs in float64, and single steps without a Trainer."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from helpers.runs import make_trainer
from helpers.toy import ToyData
from noisylab.methods.semisupervised import SemiSupervised
from noisylab.models import Network
from noisylab.types import Batch, DataInfo, Inputs, PlanBatch

__all__ = ["Shown", "Steps", "alone", "record", "step_of"]


class Shown(Network):
    """Predicts what it is shown, times a number."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Inputs) -> Tensor:
        return self._tensor(inputs) * self.factor


class Steps(L.Callback):
    """The batches of a run, the network as it began, and states after each step."""

    def __init__(self) -> None:
        self.batches: list[PlanBatch] = []
        self.network: nn.Module | None = None
        self.states: list[dict[str, Tensor]] = []
        self.averages: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, SemiSupervised)
        if self.network is None:
            self.network = copy.deepcopy(pl_module.network)
        self.batches.append(batch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SemiSupervised)
        self.states.append({key: value.clone() for key, value in pl_module.network.state_dict().items()})
        average = pl_module.average("network").network
        self.averages.append({key: value.clone() for key, value in average.state_dict().items()})


def record(method: SemiSupervised, folder: Path, epochs: int = 2, **kwargs: Any) -> Steps:
    """A run in float64."""
    steps = Steps()
    data = ToyData(**{"num_train": 29, "spread": 0.7, "batch_size": 4, **kwargs})
    make_trainer(folder, epochs, (steps,), precision="64-true").fit(method, datamodule=data)
    return steps


def alone(method: SemiSupervised, labeled: int = 4, unlabeled: int = 8) -> SemiSupervised:
    """A method that meets data without a Trainer."""
    trainer = SimpleNamespace(world_size=1, current_epoch=0, global_rank=0, lr_scheduler_configs=[], max_epochs=10, max_steps=-1)
    method._trainer = trainer
    rows = torch.arange(labeled + unlabeled)
    given = torch.where(rows < labeled, rows % method.num_classes, -1)
    names = tuple("abcdefghij")[: method.num_classes]
    method.info = DataInfo(method.num_classes, len(rows), rows[:labeled], given, names, labeled, 0, unlabeled_rows=rows[labeled:])
    method.memory.allocate(len(rows))
    method.policy.allocate(unlabeled)
    return method


def step_of(labeled: tuple[Tensor, ...], target: Tensor, unlabeled: tuple[Tensor, ...], **place: Any) -> PlanBatch:
    """A batch of views; unlabeled rows come after the labeled ones."""
    size, rest = len(target), len(unlabeled[0])
    streams = {
        "labeled": Batch(labeled, target, torch.arange(size)),
        "unlabeled": Batch(unlabeled, torch.full((rest,), -1), torch.arange(rest) + size),
    }
    return PlanBatch(
        "train", streams, **{"epoch": 0, "position": 0, "last_of_phase": False, "last_of_epoch": False, "steps": 10, **place}
    )
