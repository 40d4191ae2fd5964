"""Base class of methods that learn from a few labeled rows and many unlabeled ones."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from noisylab.arguments import Limit, NonNegative, Positive, Range
from noisylab.engine.modes import forward_aside
from noisylab.engine.optimizers import decayed_apart, optimizer_factory, scheduler_factory, with_schedules
from noisylab.engine.step import step, step_schedule
from noisylab.losses import cross_entropy, weighted_mean
from noisylab.losses.unlabeled import Normalizer
from noisylab.memory import SampleMemory, add_guesses, declare_guesses
from noisylab.methods.averaged import AveragingMethod
from noisylab.models.network import NetFactory, Network
from noisylab.selection.thresholds import NoThreshold, PolicyFactory, ThresholdPolicy, Weighted
from noisylab.specs import Factory, as_factory
from noisylab.transforms.rotation import draw_rotations
from noisylab.types import EpochPlan, Inputs, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream, join_inputs

__all__ = ["AccuracySource", "Passes", "SemiSupervised", "probabilities"]

AccuracySource = Literal["last_epoch", "last_batch", "running"]
"""Which accuracy on labeled rows a policy gets: that of the whole previous epoch, of its last batch, or of the current epoch up
to the previous step."""

Passes = Literal["joint", "separate", "labeled"]
"""How the parts of a batch go through the network: all in one pass; each in its own; or each in its own, with only the
labeled one counting in running batch statistics."""


class SemiSupervised(AveragingMethod):
    """One network that learns from labeled and unlabeled rows, with an optional averaged copy.

    A separate base class, since four methods share it. A step has a stream "labeled" and a stream "unlabeled", both endless and
    with their own batch sizes. A subclass names its views and implements `objective`. Without unlabeled rows, a step is plain
    cross-entropy.

    Args:
        num_classes: K.
        network: factory of the network.
        ratio: unlabeled rows per labeled row in a step, positive.
        unlabeled_batch_size: unlabeled rows per step, over all ranks; None for `ratio` times the data module's batch size, which
            is the number of labeled rows.
        steps_per_epoch: None for one pass over the labeled or the unlabeled rows, whichever takes more steps.
        include_labeled: whether the labeled rows are among the unlabeled ones as well.
        policy: factory of the threshold policy; None to use all rows.
        accuracy_source: which accuracy on labeled rows the policy gets.
        normalizer: what the loss of unlabeled rows is divided by.
        passes: how the parts of a batch go through the network.
        ema_decay: share of the old weights in the averaged copy after each step; None for no copy.
        ema_ramp: whether that share is at most ``1 - 1 / (s + 1)`` after step s = 1, 2, ...
        evaluate: whether the "average" or the "raw" network is the headline.
        rotation_weight: weight of the loss of a rotation head (RotNet), which predicts by how many quarter turns one copy of each
            unlabeled image is rotated; 0 for no head.
        decay_on: whether weight decay applies to "all" parameters or only to "weights", not to biases and normalization.
        clip_norm: largest gradient norm; None for no limit.
        optimizer: factory; the subclass's default if None.
        scheduler: factory of a schedule; a constant rate if None.
        schedule_by: whether the schedule is stepped once an "epoch" or a "step".

    Attributes:
        labeled_views: of the labeled rows; the first is the weak one.
        unlabeled_views: of the unlabeled rows, likewise.
        ema_buffers: whether the copy's buffers are copied, averaged like its weights, or its "own".
        policy: the threshold policy.
        accuracy: one row, with the accuracies that policies get.
    """

    uses_unlabeled: ClassVar[bool] = True
    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(
        SGD, {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    )

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        ratio: Positive = 1.0,
        unlabeled_batch_size: Annotated[int, Range(1, whole=True, none="ratio times that of labeled rows")] | None = None,
        steps_per_epoch: Annotated[int, Range(1, whole=True, none="one pass")] | None = None,
        include_labeled: bool = False,
        policy: PolicyFactory | None = None,
        accuracy_source: AccuracySource = "last_epoch",
        normalizer: Normalizer = "batch",
        passes: Passes = "joint",
        ema_decay: Annotated[float, Range(0, 1, "[)", none="no averaged copy")] | None = 0.999,
        ema_ramp: bool = False,
        evaluate: Literal["average", "raw"] = "average",
        rotation_weight: NonNegative = 0.0,
        decay_on: Literal["all", "weights"] = "all",
        clip_norm: Limit = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        schedule_by: Literal["epoch", "step"] = "step",
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        if rotation_weight and passes == "labeled":
            raise ValueError("rotated images count in the batch statistics, which passes='labeled' excludes; set passes to joint")
        self.ratio, self.unlabeled_batch_size, self.steps_per_epoch = ratio, unlabeled_batch_size, steps_per_epoch
        self.include_labeled, self.accuracy_source = include_labeled, accuracy_source
        self.normalizer, self.passes = normalizer, passes
        self.ema_decay, self.ema_ramp, self.evaluate = ema_decay, ema_ramp, evaluate
        self.rotation_weight, self.decay_on, self.clip_norm = rotation_weight, decay_on, clip_norm
        self.labeled_views: tuple[str, ...] = ("weak",)
        self.unlabeled_views: tuple[str, ...] = ("weak",)
        self.ema_buffers: Literal["copy", "average", "own"] = "copy"
        default = self.default_optimizer
        self.optimizer = optimizer_factory(optimizer, default.target, **default.init_args)
        self.scheduler, self.schedule_by = scheduler_factory(scheduler), schedule_by
        self.add_networks(network, "network")
        self.add_averages(ema_decay is not None)
        self.rotation_head = nn.Linear(self.network.embedding_width, 4) if rotation_weight else None
        made = as_factory(NoThreshold if policy is None else policy, ThresholdPolicy, "policy")(num_classes)
        assert isinstance(made, ThresholdPolicy)
        self.policy = made
        self.accuracy = SampleMemory()  # one row: not of samples, but kept like them
        for name in ("right", "seen", "last_batch", "last_epoch", "validation"):
            self.accuracy.add(name)
        self.accuracy.allocate(1)
        declare_guesses(self.memory)
        self._places: Tensor | None = None  # see `places`
        self._num_unlabeled = 0
        self._length: int | None = None  # see `run_length`

    @property
    def network(self) -> Network:
        """The network that is trained."""
        found = self.networks["network"]
        assert isinstance(found, Network)
        return found

    # ---- what a subclass implements

    @abstractmethod
    def objective(self, batch: PlanBatch) -> Tensor:
        """The loss of a step that has unlabeled rows."""

    # ---- rows

    def unlabeled_rows(self) -> Tensor:
        """(U,) sorted rows of the unlabeled stream."""
        info = self.info
        return torch.cat([info.unlabeled_rows, info.train_rows]).sort().values if self.include_labeled else info.unlabeled_rows

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """Endless streams of labeled and of unlabeled rows, for `steps_per_epoch`."""
        rows, labeled = self.unlabeled_rows(), self.info.batch_size
        size = self.unlabeled_batch_size or max(round(self.ratio * labeled), 1)
        streams = {"labeled": Stream(views=self.labeled_views, endless=True)}
        if len(rows):
            streams["unlabeled"] = Stream(rows, self.unlabeled_views, size, endless=True)
        passed = max(math.ceil(len(self.info.train_rows) / labeled), math.ceil(len(rows) / size))
        return EpochPlan((Phase("train", streams, self.steps_per_epoch or passed),))

    def setup(self, stage: str) -> None:
        """Let the policy know how many unlabeled rows there are; say if there are none."""
        super().setup(stage)
        if stage == "fit":
            self._places = self._length = None
            self._num_unlabeled = len(self.unlabeled_rows())
            self.policy.allocate(self._num_unlabeled)
            if not self._num_unlabeled:
                rank_zero_warn(
                    f"the data has no unlabeled rows: {type(self).__name__} trains on its {len(self.info.train_rows)} labeled "
                    "rows alone"
                )

    @property
    def needs_validation(self) -> bool:
        """Whether the policy goes by the accuracy on held-out rows."""
        return self.policy.needs_validation

    def check_ready(self, held_out: bool, trusted: bool) -> None:
        """Refuse a policy that goes by held-out rows where there are none; see `NoisyLabelMethod.check_ready`."""
        if self.needs_validation and not held_out:
            raise ValueError(
                f"{type(self.policy).__name__} goes by how well the network does on held-out rows, but no rows are held out; set "
                "data.val_fraction to 0.1, or give another policy"
            )

    def places(self, index: Tensor) -> Tensor:
        """Positions of rows (B,) of the training set in the unlabeled set, 0..U-1."""
        if self._places is None or self._places.device != index.device:
            rows = self.unlabeled_rows().to(index.device)
            self._num_unlabeled = len(rows)
            places = torch.arange(len(rows), device=index.device)
            self._places = torch.zeros(self.info.num_train, dtype=torch.int64, device=index.device).index_copy_(0, rows, places)
        return self._places[index]

    def once(self, batch: PlanBatch, stream: str, total: int) -> int:
        """How many of this rank's first samples of a stream belong to the current pass over its `total` rows, so none repeats."""
        size = round(batch.weight_of(stream) * self.trainer.world_size)
        left = min(total - batch.step * size % total, size)
        return len(range(self.global_rank, left, self.trainer.world_size))

    def guessed(self, batch: PlanBatch) -> Tensor:
        """This rank's rows, without repeats, whose guesses in a step are remembered."""
        return batch["unlabeled"].index[: self.once(batch, "unlabeled", self._num_unlabeled)]

    # ---- a step

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of the network, then of its averaged copy and its schedule."""
        loss = self.objective(batch) if "unlabeled" in batch.streams else self._supervised(batch)
        step(self, {"network": loss}, clip_norm=self.clip_norm)
        self.follow(batch)
        self.means.add("train/loss", loss, batch.weight_of("labeled"))

    def _supervised(self, batch: PlanBatch) -> Tensor:
        logits = self.checked(self.network(batch["labeled"].views[0]))
        self.note_labeled(batch, logits)
        return self.labeled_loss(batch, cross_entropy(logits, batch["labeled"].target, reduction="none"))

    def see(self, batch: PlanBatch, *parts: Inputs) -> tuple[list[Tensor], Tensor]:
        """Pass several groups of samples through the network in train mode, see `Passes`.

        Args:
            batch: that of the step; the first view of its unlabeled images is rotated for the rotation head.
            *parts: groups of samples, the labeled one first.

        Returns:
            The logits (B, K) of each group, and the weighted loss () of the rotation head, 0 without one.
        """
        network, turned = self.network, None
        if self.rotation_head is not None:
            turned, quarters = draw_rotations(batch["unlabeled"].views[0])
        if self.passes == "joint":
            sizes = [_count(part) for part in parts]
            if turned is None:
                return list(self.checked(network(join_inputs(parts))).split(sizes)), self._nothing
            embedding, logits = network.embed(join_inputs([*parts, turned]))
            embedding = embedding[sum(sizes) :]
            found = list(self.checked(logits)[: sum(sizes)].split(sizes))
        else:
            passes = [network, *[network if self.passes == "separate" else self._aside] * (len(parts) - 1)]
            found = [self.checked(one(part)) for one, part in zip(passes, parts, strict=True)]
            if turned is None:
                return found, self._nothing
            embedding, _ = network.embed(turned)
        assert self.rotation_head is not None
        loss = self.mean(cross_entropy(self.rotation_head(embedding), quarters, reduction="none"))
        self.means.add("train/rotation_loss", loss, batch.weight_of("unlabeled"))
        return found, self.rotation_weight * loss

    def _aside(self, inputs: Inputs) -> Tensor:
        return forward_aside(self.network, inputs)

    @property
    def _nothing(self) -> Tensor:
        return torch.zeros((), dtype=torch.float32, device=self.device)

    def note_labeled(self, batch: PlanBatch, logits: Tensor) -> None:
        """Observe the predictions for unmixed labeled samples, and count their accuracy.

        Args:
            batch: the step's.
            logits: (B, K) of its weak view.
        """
        samples, new = batch["labeled"], self.once(batch, "labeled", len(self.info.train_rows))
        self.observe(samples.index[:new], logits[:new], samples.target[:new])
        self.count_accuracy(batch, logits)

    def count_accuracy(self, batch: PlanBatch, logits: Tensor) -> None:
        """Count how many labeled samples are predicted as they are labeled.

        Args:
            batch: the step's.
            logits: (B, K) of its labeled samples, or of mixtures in which they are the larger part.
        """
        samples = batch["labeled"]
        right = (logits.detach().argmax(1) == samples.target).float()
        counts = self.sum_over_ranks(torch.stack([right.sum(), right.new_full((), len(right))]))
        for name, value in (("right", counts[0]), ("seen", counts[1])):
            self.accuracy[name].add_(value)
        self.accuracy["last_batch"].copy_((counts[0] / counts[1]).expand(1))
        self.means.add("train/labeled_acc", self.mean(right), batch.weight_of("labeled"))

    def labeled_loss(self, batch: PlanBatch, losses: Tensor) -> Tensor:
        """The mean of the losses (B,) of labeled samples, logged."""
        loss = self.mean(losses)
        self.means.add("train/labeled_loss", loss, batch.weight_of("labeled"))
        return loss

    def weigh(
        self, batch: PlanBatch, probs: Tensor, logits: Tensor | None = None, labeled_logits: Tensor | None = None
    ) -> Weighted:
        """Ask the policy for the weights of the step's unlabeled rows; log and remember them.

        Call it before `note_labeled`, so that a running accuracy covers the earlier steps only.

        Args:
            batch: the step's.
            probs: (B, K) probabilities of this rank's unlabeled rows, from which they are guessed.
            logits: (B, K) of the same, for policies that need them.
            labeled_logits: (L, K) of the weak view of this rank's labeled rows, for policies that need them.

        Returns:
            The policy's result for this rank's rows, without gradients.
        """
        samples, policy = batch["unlabeled"], self.policy
        if self.accuracy_source == "running" and (batch.epoch or batch.step):  # in the first step there is none
            policy.begin_epoch(batch.epoch, self._accuracy())
        labels: dict[str, Any] = {}
        if policy.needs_labeled and labeled_logits is not None:
            target = self.whole_stream(batch["labeled"].target, batch, "labeled")
            probs_x = self.whole_stream(probabilities(labeled_logits), batch, "labeled")
            labels = {"labeled_probs": probs_x, "labeled_target": target}
        if policy.needs_logits and logits is not None:
            labels["logits"] = self.whole_stream(logits, batch, "unlabeled")
        whole = self.whole_stream(probs, batch, "unlabeled")
        places = self.whole_stream(self.places(samples.index), batch, "unlabeled")
        found = policy(whole, places, batch.epoch * batch.steps + batch.step, **labels)
        own = Weighted(self.own_share(found.weight, len(samples)), self.own_share(found.probs, len(samples)), found.threshold)
        seen = self.guessed(batch)
        add_guesses(self.memory, batch.epoch, seen, own.probs[: len(seen)], own.weight[: len(seen)])
        rows = batch.weight_of("unlabeled")
        self.means.add("unlabeled/used", found.weight.mean(), rows)
        self.means.add("unlabeled/threshold", found.threshold.mean(), rows)
        self.means.add("unlabeled/confidence", whole.amax(1).mean(), rows)
        return own

    def unlabeled_loss(self, batch: PlanBatch, losses: Tensor, weight: Tensor | None, factor: float) -> Tensor:
        """``factor * sum_i w_i l_i / n``, logged with and without the factor; `normalizer` defines n.

        Args:
            batch: the step's.
            losses: (B,) of unlabeled rows.
            weight: (B,) w; None for ones.
            factor: the method's weight of its unlabeled loss.
        """
        loss = self.mean(losses) if weight is None else self.weighted_mean(losses, weight)
        self.means.add("unlabeled/loss", loss, batch.weight_of("unlabeled"))
        self.means.add("unlabeled/weighted_loss", factor * loss, batch.weight_of("unlabeled"))
        return factor * loss

    def weighted_mean(self, losses: Tensor, weight: Tensor) -> Tensor:
        """``sum_i w_i l_i / n`` over all ranks; 0 if no row has a weight.

        Args:
            losses: (B,) of this rank's rows.
            weight: (B,) in [0, 1].
        """
        ranks = self.trainer.world_size  # whose gradients are averaged
        size = weight.new_full((), len(weight)) if self.normalizer == "batch" else weight.sum()
        return weighted_mean(losses, weight.to(losses.dtype), size=self.sum_over_ranks(size) / ranks)

    def follow(self, batch: PlanBatch) -> None:
        """After an update, move the averaged copy and advance a schedule that counts steps."""
        if self.averages:
            taken = batch.epoch * batch.steps + batch.step + 1
            copied, averaged = self.ema_buffers == "copy", self.ema_buffers == "average"
            self.average("network").update(self.network, self.decay(taken), copy_buffers=copied, average_buffers=averaged)
        if self.schedule_by == "step":
            for config in self.trainer.lr_scheduler_configs:
                step_schedule(config.scheduler)

    def decay(self, taken: int) -> float:
        """The share of the old weights in the averaged copy.

        Args:
            taken: steps that the network has taken, this one included.
        """
        decay = self.ema_decay or 0.0
        return min(1 - 1 / (taken + 1), decay) if self.ema_ramp else decay

    # ---- an epoch

    def prepare_epoch(self, epoch: int) -> None:
        """Compute the accuracies of the previous epoch and pass them to the policy."""
        held = None
        if epoch == 0:
            self.policy.reset()
            self.accuracy.reset()
        else:
            right, seen = self.accuracy["right"], self.accuracy["seen"]
            self.accuracy["last_epoch"].copy_(right / seen.clamp(min=1))
            found = self.last_accuracy("val")
            if found is not None:
                self.accuracy["validation"].fill_(found)
                held = self.accuracy["validation"][0]
            if "val/loss" in self.epoch_metrics:
                self.policy.note_loss(torch.tensor(self.epoch_metrics["val/loss"]))
        for name in ("right", "seen"):
            self.accuracy[name].zero_()
        self.policy.begin_epoch(epoch, self._accuracy() if epoch else None, held)

    def _accuracy(self) -> Tensor:
        """() accuracy on labeled rows; a running one starts each epoch at 0."""
        if self.accuracy_source == "running":
            return (self.accuracy["right"] / self.accuracy["seen"].clamp(min=1))[0]
        return self.accuracy[self.accuracy_source][0].clone()

    def log_epoch(self, metrics: Any) -> None:
        """Log this epoch's numbers; a threshold only if the policy has one."""
        super().log_epoch({name: value for name, value in metrics.items() if name != "unlabeled/threshold" or value == value})

    # ---- optimizers

    @property
    def run_length(self) -> int:
        """Steps of the whole run.

        Raises:
            ValueError: if the Trainer has no end.
        """
        if self._length is not None:
            return self._length
        trainer, epochs = self.trainer, -1 if self.trainer.max_epochs is None else self.trainer.max_epochs
        steps = self.epoch_plan(0).phases[0].steps or 1
        limit = trainer.limit_train_batches
        if limit is not None:
            steps = min(steps, limit) if isinstance(limit, int) else max(int(steps * limit), 1)
        if epochs < 0 and trainer.max_steps < 0:
            raise ValueError("a schedule or ramp spans the run, which has no end; set trainer.max_epochs, or give its length")
        most = trainer.max_steps if trainer.max_steps > 0 else epochs * steps
        self._length = max(most if epochs < 0 else min(epochs * steps, most), 1)
        return self._length

    def configure_optimizers(self) -> Any:
        """One optimizer for network and rotation head, with its schedule; a schedule that spans the run gets the run's length."""
        modules = [self.network, *([] if self.rotation_head is None else [self.rotation_head])]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        optimizer = self.optimizer(decayed_apart(parameters) if self.decay_on == "weights" else parameters)

        def spanning(made: Optimizer) -> Any:
            schedule: Any = self.scheduler(made) if self.scheduler is not None else None
            if getattr(schedule, "total", 0) is None:
                steps = self.run_length
                schedule.total = steps if self.schedule_by == "step" else self.trainer.max_epochs
            return schedule

        return with_schedules([optimizer], spanning if self.scheduler is not None else None, self.schedule_by)


def probabilities(logits: Tensor) -> Tensor:
    """The softmax (B, K) of logits in at least float32, detached."""
    return F.softmax(logits.detach().to(torch.promote_types(logits.dtype, torch.float32)), 1)


def _count(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
