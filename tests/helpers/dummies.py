"""Methods that use every mechanism of the engine, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from noisylab.engine.step import step
from noisylab.losses import cross_entropy
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory
from noisylab.types import Batch, EpochPlan, EvalBatch, Phase, PlanBatch, Stream


class _Recorder(NoisyLabelMethod):
    """Keeps what each training step was handed, in memory only.

    Args:
        num_classes: K.
        network: factory of the networks.
        lr: learning rate.
        view: view of every stream.
    """

    def __init__(self, num_classes: int, network: NetFactory, lr: float = 0.05, view: str = "weak") -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.lr, self.view = lr, view
        self.seen: list[tuple[int, int, str, dict[str, list[int]]]] = []

    def record(self, batch: PlanBatch) -> None:
        rows = {name: batch[name].index.tolist() for name in batch.streams}
        self.seen.append((batch.epoch, batch.position, batch.phase, rows))

    def loss(self, name: str, samples: Batch) -> Tensor:
        logits = self.networks[name](samples.views[0])
        return self.mean(cross_entropy(logits, samples.target, reduction="none"))


class PhasedDummy(_Recorder):
    """Two phases: network 1 a whole pass, then network 2, each on rows that a scoring pass chose and the memory keeps.

    Epoch e keeps the 12 + 9 e rows of smallest loss under network 1, so the plan grows.
    """

    def __init__(self, num_classes: int, network: NetFactory, lr: float = 0.05, view: str = "weak") -> None:
        super().__init__(num_classes, network, lr, view)
        self.automatic_optimization = False
        self.add_networks(network, "first", "second")
        self.memory.add("kept", dtype=torch.int8)
        self.memory.add("score", fill=float("nan"))
        self.memory.add("visits", dtype=torch.int32)

    def prepare_epoch(self, epoch: int) -> None:
        def measure(batch: EvalBatch) -> dict[str, Tensor]:
            logits = self.networks["first"](batch.inputs).float()
            return {"loss": cross_entropy(logits, batch.target, reduction="none")}

        tables, mask = self.score(measure)
        rows = mask.nonzero().flatten()
        losses = tables["loss"][rows]
        self.memory.write("score", rows, losses)
        kept = torch.zeros_like(rows)
        kept[losses.argsort(stable=True)[: 12 + 9 * epoch]] = 1
        self.memory.write("kept", rows, kept)

    def epoch_plan(self, epoch: int) -> EpochPlan:
        train, kept = self.info.train_rows, self.memory["kept"].cpu().bool()
        inside, outside = train[kept[train]], train[~kept[train]]
        view = (self.view,)
        phases = [Phase("first", {"clean": Stream(inside, view)})]
        if len(outside):
            phases = [Phase("first", {"clean": Stream(inside, view), "noisy": Stream(outside, view, endless=True)})]
        return EpochPlan((*phases, Phase("second", {"clean": Stream(inside, view, batch_size=4)})))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        self.record(batch)
        samples = batch["clean"]
        loss = self.loss(batch.phase, samples)
        if "noisy" in batch.streams:
            loss = loss + 0.1 * self.loss(batch.phase, batch["noisy"])
        self.memory.accumulate("visits", samples.index, 1)
        if batch.phase == "first":
            with torch.no_grad():
                logits = self.networks["first"](samples.views[0])
            self.observe(samples.index, logits, samples.target)
        self.means.add(f"train/loss_{batch.phase}", loss, batch.weight_of("clean"))
        step(self, {batch.phase: loss})

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(net.parameters(), self.lr, momentum=0.9) for net in self.networks.values()]


class StagedDummy(_Recorder):
    """Three stages of one epoch, each with an optimizer and a batch size of its own, over one network."""

    stages = ("warmup", "revise", "finetune")

    def __init__(self, num_classes: int, network: NetFactory, lr: float = 0.05, view: str = "weak") -> None:
        super().__init__(num_classes, network, lr, view)
        self.automatic_optimization = False
        self.add_networks(network, "network")
        self.memory.add("stage", dtype=torch.int8, fill=-1)

    @property
    def optimizer_names(self) -> tuple[str, ...]:
        return self.stages

    def stage(self, epoch: int) -> int:
        return min(epoch, 2)

    def epoch_plan(self, epoch: int) -> EpochPlan:
        size = (8, 5, 16)[self.stage(epoch)]
        return EpochPlan((Phase("train", {"train": Stream(views=(self.view,), batch_size=size)}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        self.record(batch)
        samples, stage = batch["train"], self.stage(batch.epoch)
        logits = self.networks["network"](samples.views[0])
        self.observe(samples.index, logits, samples.target)
        self.memory.write("stage", samples.index, torch.full_like(samples.index, stage))
        loss = self.mean(cross_entropy(logits, samples.target, reduction="none"))
        self.means.add("train/loss", loss, batch.weight_of("train"))
        step(self, {self.stages[stage]: loss})

    def configure_optimizers(self) -> Any:
        network = self.networks["network"]
        optimizers = [
            torch.optim.SGD(network.parameters(), self.lr, momentum=0.9),
            torch.optim.Adam(network.parameters(), self.lr / 10),
            torch.optim.SGD(network.head.parameters(), self.lr),  # type: ignore[union-attr]
        ]
        return optimizers, [torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.9) for o in optimizers]


class SideStreamDummy(_Recorder):
    """Automatic optimization with an endless side stream of five rows in batches of eight; the rows are training rows too."""

    def __init__(self, num_classes: int, network: NetFactory, lr: float = 0.05, view: str = "weak") -> None:
        super().__init__(num_classes, network, lr, view)
        self.add_networks(network, "network")
        self.memory.add("side_step", dtype=torch.int32, fill=-1)

    def epoch_plan(self, epoch: int) -> EpochPlan:
        side = Stream(self.info.train_rows[2:7], (self.view,), batch_size=8, endless=True)
        return EpochPlan((Phase("train", {"train": Stream(views=(self.view,)), "side": side}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        self.record(batch)
        samples, side = batch["train"], batch["side"]
        logits = self.networks["network"](samples.views[0])
        self.observe(samples.index, logits, samples.target)
        at = batch.epoch * 100 + batch.position
        self.memory.write("side_step", side.index, torch.full_like(side.index, at))
        loss = self.mean(cross_entropy(logits, samples.target, reduction="none")) + self.loss("network", side)
        self.means.add("train/loss", loss, batch.weight_of("train"))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.networks.parameters(), self.lr / 10)


class AccumulatingDummy(_Recorder):
    """Manual optimization that updates every second batch and at the end of the epoch."""

    def __init__(self, num_classes: int, network: NetFactory, lr: float = 0.05, view: str = "weak") -> None:
        super().__init__(num_classes, network, lr, view)
        self.automatic_optimization = False
        self.add_networks(network, "network")

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        self.record(batch)
        boundary = batch.position % 2 == 1 or batch.last_of_epoch
        loss = self.loss("network", batch["train"])
        step(self, {"network": loss}, accumulate=2, boundary=boundary)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.networks.parameters(), self.lr, momentum=0.9)
