"""Base class of methods that learn a network's encoder without labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from noisylab.arguments import Positive
from noisylab.engine.optimizers import one_for_all, optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory, Network
from noisylab.specs import Factory
from noisylab.types import EpochPlan, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["Pretraining"]


class Pretraining(NoisyLabelMethod, ABC):
    """One network whose encoder learns from a task that needs no labels, for other runs to start from (``--init_from``).

    A separate base class, since two methods share it. Every training row counts, with or without a label. At the same time the
    network's own head learns the given labels from the encoder's outputs; no gradient from the labels reaches the encoder. A run
    reports the accuracy of this head. It is that of a linear probe, which shows how well the features, learned without labels,
    separate the classes. With wrong labels, it is a probe trained on wrong labels. The head is not passed on to other runs.

    If some rows have no label, the probe learns from the others, and nothing is observed online.

    Args:
        num_classes: K.
        network: factory of the network, which must end in a linear layer.
        probe_lr: learning rate of the head, independent of the encoder's; the schedule scales both alike.
        optimizer: factory; the subclass's default if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.
    """

    uses_unlabeled: ClassVar[bool] = True
    learns_labels: ClassVar[bool] = False
    needs_embedding: ClassVar[bool] = True
    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4})

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        probe_lr: Positive = 0.1,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        default = self.default_optimizer
        self.probe_lr = probe_lr
        self.optimizer = optimizer_factory(optimizer, default.target, **default.init_args)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, "network")
        self.train_views: tuple[str, ...] = ("weak",)

    @property
    def network(self) -> Network:
        """The network that is trained."""
        found = self.networks["network"]
        assert isinstance(found, Network)
        return found

    @abstractmethod
    def task(self, batch: PlanBatch) -> tuple[Tensor, Tensor]:
        """The loss () of the task without labels, and embeddings (B, D) of the batch's samples for the probe."""

    def task_parameters(self) -> list[nn.Parameter]:
        """Parameters of the task that are not the network's."""
        return []

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once, including those without a label."""
        rows = torch.cat([self.info.train_rows, self.info.unlabeled_rows]).sort().values
        return EpochPlan((Phase(streams={"train": Stream(rows, self.train_views)}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        """One batch of the task, and one of the probe on detached embeddings."""
        samples = batch["train"]
        loss, embedding = self.task(batch)
        probe = self.checked(self.network.get_submodule(self.network.head_name)(embedding.detach()))
        losses = cross_entropy(probe, samples.target.clamp(min=0), reduction="none")
        probed = self.mean(losses, samples.target >= 0)
        if not len(self.info.unlabeled_rows):
            self.observe(samples.index, probe, samples.target)
        rows = batch.weight_of("train")
        self.means.add("train/loss", loss, rows)
        self.means.add("train/probe_loss", probed, rows)
        return loss + probed

    def configure_optimizers(self) -> Any:
        """One optimizer for the encoder, the task's own parameters and the head, which has its own rate; and its schedule."""
        name = f"{self.network.head_name}."
        named = dict(self.network.named_parameters())
        encoder = [parameter for key, parameter in named.items() if not key.startswith(name)]
        head = [parameter for key, parameter in named.items() if key.startswith(name)]
        groups: list[Any] = [{"params": [*encoder, *self.task_parameters()]}, {"params": head, "lr": self.probe_lr}]
        return one_for_all([group for group in groups if group["params"]], self.optimizer, self.scheduler)
