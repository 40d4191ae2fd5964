"""Base class of methods that weight samples by their effect on a trusted batch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from noisylab.arguments import Limit, Range
from noisylab.engine.optimizers import one_each, optimizer_factory, scheduler_factory
from noisylab.engine.ranks import world_size
from noisylab.engine.step import step_schedule
from noisylab.memory import SampleMemory
from noisylab.methods.metagradients import MetaGradients
from noisylab.models.network import NetFactory
from noisylab.selection.meta_weights import sum_to_one
from noisylab.specs import Factory
from noisylab.types import EpochPlan, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["ReweightingMethod", "WeightNorm"]

WeightNorm = Literal["batch", "running", "epoch"]
"""What a sample's score is divided by: the sum over its batch; a moving average of such sums; its mean over all samples in the
epoch before."""

_KEPT = 0.99  # of the moving average of sums, in a step


class ReweightingMethod(MetaGradients):
    """Methods that weight samples by their effect on trusted batches, with optional averaged copies.

    A level of its own below `NoisyLabelMethod`, since three methods share it. A batch has a stream "train" and, for each network,
    one of trusted rows that is endless and of constant size.

    Args:
        num_classes: K.
        network: factory of the networks.
        meta_batch_size: trusted samples a step and network, over all ranks; None for as many as training samples.
        weight_norm: what a sample's score is divided by: the batch's sum; "running", a moving average of that sum; "epoch", its
            mean over all samples in the epoch before.
        ema_decay: largest share of the old weights in an averaged copy of each network; None for no copies. In step t, counted
            from 0, it is at most ``(1 + t) / (10 + t)``.
        evaluate: whether the "average" or the "raw" networks are the headline.
        clip_norm: largest gradient norm of each network; None for no limit.
        optimizer: factory for each network.
        scheduler: factory of a schedule for each; a constant rate if None.
        schedule_by: whether schedules are stepped once an "epoch" or a "step".

    Attributes:
        meta_streams: the name of each network's stream of trusted rows; the names are those of the networks.
        meta_order: of the trusted streams.
        train_views: views of the training rows; trusted rows have the first.
        epsilon: added to the sum that scores are divided by.
        default_optimizer: of each network where none is given.
    """

    meta_order: ClassVar[Literal["shuffle", "sequential"]] = "shuffle"
    epsilon: ClassVar[float] = 0.0
    default_optimizer: ClassVar[Factory[Optimizer]]

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        meta_batch_size: Annotated[int, Range(1, whole=True, none="that of training")] | None = None,
        weight_norm: WeightNorm = "batch",
        ema_decay: Annotated[float, Range(0, 1, "[)", none="no averaged copies")] | None = None,
        evaluate: Literal["average", "raw"] = "average",
        clip_norm: Limit = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        schedule_by: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.train_views: tuple[str, ...] = self.views
        self.meta_batch_size, self.weight_norm = meta_batch_size, weight_norm
        self.ema_decay, self.evaluate, self.clip_norm = ema_decay, evaluate, clip_norm
        default = self.default_optimizer
        self.optimizer = optimizer_factory(optimizer, default.target, **default.init_args)
        self.scheduler, self.schedule_by = scheduler_factory(scheduler), schedule_by
        self.add_networks(network, *self.meta_streams)
        self.add_averages(ema_decay is not None)
        self.sums = SampleMemory()  # one row: not of samples, but kept like them
        for name in self.meta_streams:
            self.memory.add(f"weight_{name}", fill=0.0)
            if weight_norm == "epoch":
                self.memory.add(f"score_{name}")
                self.memory.add(f"relative_{name}")
            self.sums.add(name, fill=-1.0)
        self.sums.allocate(1)

    # ---- trusted rows

    @property
    def needs_trusted(self) -> bool:
        """Always true."""
        return True

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once, with trusted batches beside them."""
        # in turn, the classes would always fall to the same ranks
        order = "shuffle" if world_size(self) > 1 else self.meta_order
        trusted = {
            stream: Stream(self.info.trusted_rows, self.train_views[:1], self.meta_batch_size, order, endless=True)
            for stream in self.meta_streams.values()
        }
        return EpochPlan((Phase(streams={"train": Stream(views=self.train_views), **trusted}),))

    # ---- weights

    def weigh(self, batch: PlanBatch, name: str, scores: Tensor, loss: Tensor) -> Tensor:
        """Weights (B,) of this rank's training samples in an update by their weighted sum over all ranks, remembered and logged.

        Args:
            batch: the batch.
            name: of the network.
            scores: (B,) meta-gradients, positive where a step on the sample lowers the trusted loss.
            loss: of the trusted batch.
        """
        index, size = batch["train"].index, batch.weight_of("train") * self.trainer.world_size
        kept = scores.clamp(min=0)
        total = self.sum_over_ranks(kept.sum())
        weights = sum_to_one(kept, total, epsilon=self.epsilon)
        if self.weight_norm == "running":
            before, now = self.sums[name][0], total / size
            share = max(1 - _KEPT, 1 / (batch.epoch * batch.steps + batch.step + 1))  # at first the mean of all so far
            average = torch.where(before < 0, now, (1 - share) * before + share * now)
            self.sums[name].copy_(average.expand(1))
            weights = sum_to_one(kept, average * size, epsilon=self.epsilon)
        elif self.weight_norm == "epoch":
            self.memory.write(f"score_{name}", index, kept)
            if batch.epoch > 0:
                weights = self.memory[f"relative_{name}"][index] / size
        self.memory.write(f"weight_{name}", index, weights)
        suffix = "" if name == next(iter(self.networks)) else f"_{name}"
        rows = batch.weight_of("train")
        self.means.add(f"train/meta_loss{suffix}", loss, rows)
        self.means.add(f"train/score_sum{suffix}", total, rows)
        given = self.sum_over_ranks(weights.sum())
        self.means.add(f"train/weight_sum{suffix}", given, rows)
        self.means.add(f"train/zero_weights{suffix}", self.mean((weights == 0).float()), rows)
        self.means.add(f"train/lost_steps{suffix}", (given == 0).float(), 1)
        return weights

    def weighted_sum(self, weights: Tensor, losses: Tensor) -> Tensor:
        """``sum_i w_i l_i`` over all ranks, whose gradients are averaged."""
        return self.trainer.world_size * (weights.to(losses.dtype) * losses).sum()

    def prepare_epoch(self, epoch: int) -> None:
        """With weights by epoch: scale the scores of the previous epoch to a mean of 1 over all training rows."""
        if self.weight_norm != "epoch" or epoch == 0:
            return
        for name in self.networks:
            scores = self.memory[f"score_{name}"]
            mean = scores[self.info.train_rows.to(scores.device)].mean()
            self.memory[f"relative_{name}"].copy_(scores / torch.where(mean > 0, mean, torch.ones_like(mean)))

    def clean_prob(self) -> Tensor | None:
        """The last weight of each sample, the mean over the networks, at most 1; None before training."""
        tables = [f"weight_{name}" for name in self.networks]
        if any(table not in self.memory for table in tables) or not bool((self.memory["observed_epoch"] >= 0).any()):
            return None
        return torch.stack([self.memory[table] for table in tables]).mean(0).clamp(max=1)

    # ---- averaged copies

    def follow(self, batch: PlanBatch) -> None:
        """After an update, move the averaged copies and advance the schedules that count steps."""
        if self.ema_decay is not None:
            taken = batch.epoch * batch.steps + batch.step
            decay = min(self.ema_decay, (1 + taken) / (10 + taken))
            for name, network in self.networks.items():
                self.average(name).update(network, decay, copy_buffers=True)
        if self.schedule_by == "step":
            for config in self.trainer.lr_scheduler_configs:
                step_schedule(config.scheduler)

    def on_fit_start(self) -> None:
        """In a new run, clear the sums of any previous fit."""
        super().on_fit_start()
        if self.trainer.ckpt_path is None and self.current_epoch == 0:
            self.sums.reset()

    def configure_optimizers(self) -> Any:
        """One optimizer for each network, each with its schedule."""
        return one_each(self.networks, self.optimizer, self.scheduler, self.schedule_by)
