"""What methods share that weight samples by what they do for a trusted batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from noisylab.ema import AveragedNetwork
from noisylab.engine.divergence import refuse_diverged
from noisylab.engine.modes import in_mode
from noisylab.engine.optimizers import one_each, scheduler_factory
from noisylab.engine.ranks import world_size
from noisylab.engine.step import check_clip_norm, step_schedule
from noisylab.memory import SampleMemory
from noisylab.meta import Form, choose_form, derivative, gradient, tangent_forward
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory
from noisylab.selection.meta_weights import sum_to_one
from noisylab.specs import Factory
from noisylab.types import Batch, EpochPlan, Inputs, LRSchedulerFactory, Phase, PlanBatch, Stream

__all__ = ["ReweightingMethod", "WeightNorm"]

WeightNorm = Literal["batch", "running", "epoch"]
"""What a sample's score is divided by: the sum over its batch; a moving average of such sums; its mean over all samples in the
epoch before."""

_KEPT = 0.99  # of the moving average of sums, in a step


class ReweightingMethod(NoisyLabelMethod, ABC):
    """Networks with trusted batches, meta-gradients, weights and averaged copies.

    A level of its own below `NoisyLabelMethod`, since three methods share it. A batch has a stream "train" and, for each network,
    one of trusted rows that is endless and of constant size.

    Args:
        num_classes: K.
        network: factory of the networks.
        names: of the networks, and the name of each one's trusted stream.
        views: of the training rows; trusted rows have the first.
        meta_batch_size: trusted samples a batch, over all ranks; None for as many as training samples.
        meta_order: of the trusted stream.
        weight_norm: see `WeightNorm`.
        epsilon: added to the sum that scores are divided by.
        ema_decay: share of the old weights in an averaged copy of each network; None for no copies. In step t, counted from 0, it
            is at most ``(1 + t) / (10 + t)``.
        evaluate: whether the "average" or the "raw" networks are the headline.
        clip_norm: largest gradient norm of each network; None for no limit.
        optimizer: factory for each network.
        scheduler: factory of a schedule for each; None for a constant rate.
        schedule_by: whether schedules are stepped once an "epoch" or a "step".
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        names: Mapping[str, str],
        *,
        views: tuple[str, ...],
        meta_batch_size: int | None,
        meta_order: Literal["shuffle", "sequential"],
        weight_norm: WeightNorm,
        epsilon: float,
        ema_decay: float | None,
        evaluate: Literal["average", "raw"],
        clip_norm: float | None,
        optimizer: Factory[torch.optim.Optimizer],
        scheduler: LRSchedulerFactory | None,
        schedule_by: Literal["epoch", "step"],
    ) -> None:
        super().__init__(num_classes)
        self.automatic_optimization = False
        if meta_batch_size is not None and meta_batch_size < 1:
            raise ValueError(f"meta_batch_size must be at least 1, or None for that of training, got {meta_batch_size}")
        if weight_norm not in get_args(WeightNorm):
            raise ValueError(f"weight_norm must be one of {', '.join(get_args(WeightNorm))}, got {weight_norm!r}")
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be a fraction in [0, 1), or None for no averaged copies, got {ema_decay}")
        if evaluate not in ("average", "raw") or schedule_by not in ("epoch", "step"):
            raise ValueError(
                f"evaluate must be 'average' or 'raw' and schedule_by 'epoch' or 'step', got {evaluate!r} and {schedule_by!r}"
            )
        check_clip_norm(clip_norm)
        self.meta_streams, self.train_views = dict(names), views
        self.meta_batch_size, self.meta_order = meta_batch_size, meta_order
        self.weight_norm, self.epsilon = weight_norm, epsilon
        self.ema_decay, self.evaluate, self.clip_norm = ema_decay, evaluate, clip_norm
        self.optimizer, self.scheduler, self.schedule_by = optimizer, scheduler_factory(scheduler), schedule_by
        self.forms: dict[str, Form] = {}
        self._chosen_in = ""  # which precision
        self.add_networks(network, *names)
        self.averages = nn.ModuleDict(
            {} if ema_decay is None else {name: AveragedNetwork(network) for name, network in self.networks.items()}
        )
        self.sums = SampleMemory()  # one row: not of samples, but kept like them
        for name in names:
            self.memory.add(f"weight_{name}", fill=0.0)
            if weight_norm == "epoch":
                self.memory.add(f"score_{name}")
                self.memory.add(f"relative_{name}")
            self.sums.add(name, fill=-1.0)
        self.sums.allocate(1)

    @abstractmethod
    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of every network."""

    # ---- trusted rows

    @property
    def needs_trusted(self) -> bool:
        """Always."""
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

    def trusted(self, batch: PlanBatch, name: str) -> Batch:
        """The trusted batch of a network."""
        return batch[self.meta_streams[name]]

    # ---- meta-gradients

    def trusted_gradient(
        self, batch: PlanBatch, name: str, at: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradient of the trusted batch's mean cross-entropy, over all ranks, and the loss.

        Args:
            batch: with the trusted stream.
            name: of the network.
            at: parameters to take the gradient at; None for the network's own.
        """
        samples = self.trusted(batch, name)
        found, loss = gradient(
            self.networks[name],
            samples.views[0],
            samples.target,
            at=at,
            form=self.forms.get(name, Form()),
            count=round(batch.weight_of(self.meta_streams[name]) * self.trainer.world_size),
        )
        return self.sum_by_name(found), self.sum_over_ranks(loss)

    def sum_by_name(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all ranks of tensors by name, in one exchange."""
        if self.trainer.world_size == 1:
            return values
        summed = self.sum_over_ranks(torch.cat([value.flatten() for value in values.values()]))
        parts = summed.split([value.numel() for value in values.values()])
        return {name: part.view_as(values[name]) for name, part in zip(values, parts, strict=True)}

    def settle_form(self, name: str, inputs: Inputs, direction: Mapping[str, Tensor], weights: Any) -> None:
        """Choose once how a network's derivatives are found; see `noisylab.meta.choose_form`.

        Args:
            name: of the network.
            inputs: of this rank.
            direction: gradient of a trusted batch.
            weights: (B,) weights from logits and their derivative, both (B, K).
        """
        if name in self.forms:
            return
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        form, reason = choose_form(self.networks[name], inputs, direction, weights, scaled=scaled)
        order = [Form(), Form("float32"), Form("training", "difference"), Form("float32", "difference")]
        place = torch.tensor(order.index(form), device=self.device)
        if self.trainer.world_size > 1:  # the same on all ranks: what works for each of them
            form = order[int(self.gather(place).max())]
        self.forms[name] = form
        if reason and name == next(iter(self.networks)):
            by_difference = form.rule == "difference"
            how = "a central difference" if by_difference else "tangents in float32"
            say = rank_zero_warn if by_difference else rank_zero_info  # that takes one more pass and is not exact
            say(f"{type(self).__name__} finds the weights of samples by {how}: {reason}")

    def forward_along(self, name: str, inputs: Inputs, direction: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits with a graph to update by, and the logits and derivatives that weights are computed from.

        Both come out of one forward pass where the form allows it.
        """
        network, form = self.networks[name], self.forms[name]
        if form.shares:
            logits, tangent = tangent_forward(network, inputs, direction)
            return self.checked(logits), (logits.detach(), tangent)
        found = derivative(network, inputs, direction, form)
        return self.checked(network(inputs)), found

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
        """With weights by epoch: bring the scores of the epoch before to a mean of 1 over all training rows."""
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
        """After an update: move the averaged copies, and the schedules that count steps."""
        if self.ema_decay is not None:
            taken = batch.epoch * batch.steps + batch.step
            decay = min(self.ema_decay, (1 + taken) / (10 + taken))
            for name, network in self.networks.items():
                self._average(name).update(network, decay, copy_buffers=True)
        if self.schedule_by == "step":
            for config in self.trainer.lr_scheduler_configs:
                step_schedule(config.scheduler)

    def _average(self, name: str) -> AveragedNetwork:
        average = self.averages[name]
        assert isinstance(average, AveragedNetwork)
        return average

    @property
    def headline(self) -> str:
        """The networks together, or the one there is, averaged over steps if `evaluate` says so."""
        name = "ensemble" if len(self.networks) > 1 else next(iter(self.networks))
        return f"{name}_average" if self.averages and self.evaluate == "average" else name

    @property
    def predictors(self) -> tuple[str, ...]:
        """The networks, their ensemble, and the same of their averaged copies."""
        names = super().predictors
        return (*names, *(f"{name}_average" for name in names)) if self.averages else names

    def all_logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Those of each network and of their ensemble, and of their averaged copies and these copies' ensemble."""
        logits = super().all_logits(inputs)
        copies: dict[str, Tensor] = {}
        for name in self.averages:
            with in_mode(self.averages[name], training=False):
                copies[f"{name}_average"] = self.checked(self.averages[name](inputs)).float()
        if len(copies) > 1:
            each = torch.stack(list(copies.values()))
            copies["ensemble_average"] = F.log_softmax(each, 2).logsumexp(0) - math.log(len(each))
        return {**logits, **copies}

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) of the headline predictor."""
        return self.all_logits(inputs)[self.headline]

    # ---- state

    def refuse_nonfinite(self) -> None:
        """The same as for the networks, for their averaged copies.

        Raises:
            ValueError: see `NoisyLabelMethod.refuse_nonfinite`.
        """
        super().refuse_nonfinite()
        averages = {f"{name} (averaged copy)": average for name, average in self.averages.items()}
        if averages:
            refuse_diverged(averages, {}, self.current_epoch, str(self.trainer.precision))

    def on_fit_start(self) -> None:
        """In a new run: forget forms and sums of a fit before; in one that goes on with another precision: the forms."""
        super().on_fit_start()
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        precision = f"{self.trainer.precision}{', scaled' if scaled else ''}"
        new = self.trainer.ckpt_path is None and self.current_epoch == 0
        if new:
            self.sums.reset()
        if new or precision != self._chosen_in:
            self.forms.clear()
        self._chosen_in = precision

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how derivatives are found: a resumed run must not choose again."""
        super().on_save_checkpoint(checkpoint)
        forms = {name: [form.precision, form.rule] for name, form in self.forms.items()}
        checkpoint["noisylab_forms"] = {"chosen_in": self._chosen_in, "forms": forms}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take how derivatives are found."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["noisylab_forms"]
        self.forms = {name: Form(*parts) for name, parts in saved["forms"].items()}
        self._chosen_in = saved["chosen_in"]

    def configure_optimizers(self) -> Any:
        """One optimizer for each network, each with its schedule."""
        made = one_each(self.networks, self.optimizer, self.scheduler)
        if self.scheduler is None or self.schedule_by == "epoch":
            return made
        optimizers, schedules = made
        if any(isinstance(schedule, ReduceLROnPlateau) for schedule in schedules):
            raise ValueError("schedule_by='step' cannot follow val/acc, as ReduceLROnPlateau does; set schedule_by to epoch")
        return optimizers, [{"scheduler": schedule, "interval": "step"} for schedule in schedules]
