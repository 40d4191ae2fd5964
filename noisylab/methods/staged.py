"""Base class of methods that train one network in stages."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from noisylab.arguments import Limit
from noisylab.best_network import BestNetwork
from noisylab.engine.step import step
from noisylab.estimation import Anchors, anchor_transition, dual_transition, read_transition
from noisylab.memory import SampleMemory
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory, Network
from noisylab.noise import Noise, OpenSet
from noisylab.specs import Factory, as_factory
from noisylab.transforms.draws import key_from
from noisylab.types import DataInfo, EpochPlan, EvalBatch, Phase, PlanBatch, Stream

__all__ = [
    "ESTIMATORS",
    "HandOver",
    "NoiseFactory",
    "SelectBy",
    "Stage",
    "StagedMethod",
    "check_estimator",
    "known_transition",
    "noise_factory",
    "said_once",
]

NoiseFactory = Callable[[], Noise]
"""Returns a kind of noise: what an experimenter who put the noise in knows of it."""

ESTIMATORS = ("anchor", "anchor97", "dual", "dual97")
"""How a matrix is read from a network's predictions: by the surest sample of each class, or through the predicted class (Dual-T);
97 leaves out the surest three hundredths."""

HandOver = Literal["best", "last"]
"""Which network of a stage the next one continues from: that of the best epoch by validation, or that of the last epoch."""


SelectBy = Literal["val_acc", "val_loss"]
"""What makes an epoch the best of its stage, both on held-out rows: the highest accuracy or the lowest loss."""


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Args:
        name: phase of its batches, name of its optimizer.
        epochs: number of epochs; None for all remaining ones.
        optimizer: factory.
        scheduler: factory of a schedule, stepped once per epoch of this stage; None for a constant rate.
        fresh: whether the stage begins with a new network instead of the previous stage's.
    """

    name: str
    epochs: int | None
    optimizer: Factory[Optimizer]
    scheduler: Factory[LRScheduler] | None
    fresh: bool = False


class StagedMethod(NoisyLabelMethod, ABC):
    """One network that trains in stages, each with its own length, loss, optimizer and schedule.

    A level of its own below `NoisyLabelMethod` because what such methods share, the order of stages, the best network of each
    and the estimate of a transition matrix, has to be right under a resume at any moment; written once it is tested once. A
    child calls `add_stages` and writes `loss`; what happens between two stages is `begin_stage`.

    A stage begins at the start of its first epoch. A finished stage's optimizer forgets its state.

    Args:
        num_classes: K.
        hand_over: whether a stage continues from the previous stage's "best" network by validation, or from its "last".
        view: view of the samples that is trained on.
        clip_norm: largest norm of the gradient; None for no limit.
        select_by: what makes an epoch the best of its stage: "val_acc" or "val_loss", on held-out rows.

    Attributes:
        matrices: tables with one row per class, float32 whatever the precision: ``transition``, the matrix in use.
        transition: one of `ESTIMATORS`, or the file with the matrix; for methods that have one.
        may_skip_first: whether the first stage may have 0 epochs, in a run that starts from the weights of another run.
    """

    recordable = True  # what a stage does is the same in all batches of an epoch
    may_skip_first: ClassVar[bool] = False

    def __init__(
        self,
        num_classes: int,
        hand_over: HandOver = "best",
        view: str = "weak",
        clip_norm: Limit = None,
        select_by: SelectBy = "val_acc",
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        if select_by == "val_loss" and hand_over == "last":
            raise ValueError(f"select_by={select_by!r} chooses among epochs and hand_over='last' takes the last; leave one out")
        self.hand_over, self.view, self.clip_norm = hand_over, view, clip_norm
        self.select_by: str = select_by
        self.stages: tuple[Stage, ...] = ()
        self.transition = ESTIMATORS[0]
        self.best: BestNetwork | None = None
        self.matrices = SampleMemory()
        self.matrices.add("transition", num_classes)
        self.matrices.add("anchor", dtype=torch.int64, fill=-1)
        self.matrices.allocate(num_classes)
        self._begun = 0  # stages, a number on the host: nothing may wait for the device to know it

    def add_stages(self, network: NetFactory, *stages: Stage) -> None:
        """Build the network and say in which stages it trains; the last one lasts as long as the run.

        Raises:
            ValueError: for a stage of less than one epoch, or a negative number of epochs for a first stage that may be left out.
        """
        for number, stage in enumerate(stages):
            least = 0 if number == 0 and self.may_skip_first else 1
            if stage.epochs is not None and (not isinstance(stage.epochs, int) or stage.epochs < least):
                raise ValueError(f"{stage.name}_epochs must be a whole number, at least {least}, got {stage.epochs}")
        self.stages = stages
        self.add_networks(network, "network")
        self._network = as_factory(network, Network, "network")
        if self.needs_validation:
            self.best = BestNetwork(self.networks["network"])

    # ---- what a child may override

    @abstractmethod
    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        """The scalar that a step of `stage` minimizes.

        Args:
            stage: its name.
            batch: with the stream ``train``.
            logits: (B, K) of the network.
        """

    def begin_stage(self, stage: str) -> None:
        """Called at the start of the first epoch of every stage, once its network is in place."""

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """The parameters that the optimizer of a stage trains."""
        return list(self.networks.parameters())

    def score_epoch(self, epoch: int) -> float | None:
        """How good the network of a finished epoch is, larger for better; None for an epoch that cannot be chosen."""
        if self.select_by == "val_acc":
            return self.epoch_metrics.get("val/acc")
        loss = self.epoch_metrics.get("val/loss")
        return None if loss is None else -loss

    # ---- stages

    def on_fit_start(self) -> None:
        """Refuse to leave the first stage out for a network that was not trained before.

        Raises:
            ValueError: naming its length.
        """
        if self.stages[0].epochs == 0 and not self.started_from:
            raise ValueError(
                f"{self.stages[0].name}_epochs=0 leaves out the stage that trains the network first; start from a run that "
                "did, with --init_from RUN (noisylab.warm_start in Python), or train for at least one epoch"
            )
        super().on_fit_start()

    def check_ready(self, held_out: bool, trusted: bool) -> None:
        """Check also that the file of the matrix can be read, if one was named."""
        super().check_ready(held_out, trusted)
        if self.transition not in ESTIMATORS:
            read_transition(self.transition, self.num_classes)

    @property
    def needs_validation(self) -> bool:
        """True if a stage hands over its best network."""
        return self.hand_over == "best" and len([stage for stage in self.stages if stage.epochs != 0]) > 1

    @property
    def stage(self) -> str:
        """Name of the stage begun most recently, also after loading a checkpoint; the first stage before any has begun."""
        return self.stages[max(self._begun - 1, 0)].name

    def get_extra_state(self) -> dict[str, int]:
        """The number of stages begun, for ``state_dict``."""
        return {"stages_begun": self._begun}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Restore the number of stages begun."""
        self._begun = int(state["stages_begun"])

    def stage_number(self, epoch: int) -> int:
        """Which stage epoch `epoch` belongs to, counted from 0."""
        for number, stage in enumerate(self.stages):
            if stage.epochs is None or epoch < stage.epochs:
                return number
            epoch -= stage.epochs
        return len(self.stages) - 1

    def first_epoch(self, number: int) -> int:
        """The epoch in which a stage begins."""
        return sum(stage.epochs or 0 for stage in self.stages[:number])

    def best_since(self, epoch: int) -> int:
        """Networks of one stage compete only with one another."""
        return self.first_epoch(self.stage_number(epoch))

    @property
    def resting(self) -> tuple[str, ...]:
        """The optimizers of all other stages."""
        now = self.stage_number(self.current_epoch)
        return tuple(stage.name for number, stage in enumerate(self.stages) if number != now)

    @property
    def optimizer_names(self) -> tuple[str, ...]:
        """One per stage."""
        return tuple(stage.name for stage in self.stages)

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once, in the phase of their stage."""
        stage = self.stages[self.stage_number(epoch)]
        return EpochPlan((Phase(stage.name, {"train": Stream(views=(self.view,))}),))

    def prepare_epoch(self, epoch: int) -> None:
        """Keep the previous epoch's network if it is the best of its stage."""
        if epoch == 0:
            self._begun = 0
            self.matrices.reset()
            if self.best is not None:
                self.best.reset()
        elif self.best is not None and self.stage_number(epoch - 1) < len(self.stages) - 1:
            score = self.score_epoch(epoch - 1)
            if score is not None:
                self.best.offer(self.networks["network"], score, epoch - 1)

    def on_train_epoch_start(self) -> None:
        """Begin the stage that is due."""
        super().on_train_epoch_start()
        number = self.stage_number(self.current_epoch)
        if number >= self._begun:
            self._begin(number)

    def _begin(self, number: int) -> None:
        stage, network = self.stages[number], self.networks["network"]
        if number > 0:
            if self.best is not None and self.stages[number - 1].epochs != 0:
                self.best.restore(network)
                self.best.reset()
            self.wrapped_optimizers()[self.stages[number - 1].name].optimizer.state.clear()
        self.begin_stage(stage.name)
        if stage.fresh:  # only now: what begins may have looked at the network of the stage before
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(key_from(self.info.seed, "fresh", stage.name))
                new = self._network(self.num_classes)
            network.load_state_dict(new.state_dict())
        self._begun = number + 1

    def on_train_epoch_end(self) -> None:
        """Log the number of the stage, in addition to what the base class logs."""
        self.log_epoch({"train/stage": float(self.stage_number(self.current_epoch))})
        super().on_train_epoch_end()

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of the stage's optimizer."""
        samples = batch["train"]
        logits = self(samples.views[0])
        self.observe(samples.index, logits, samples.target)
        loss = self.loss(batch.phase, batch, logits)
        step(self, {batch.phase: loss}, clip_norm=self.clip_norm)
        self.means.add("train/loss", loss, batch.weight_of("train"))

    def configure_optimizers(self) -> Any:
        """One optimizer for each stage, with its schedule where it has one."""
        made = [stage.optimizer(self.stage_parameters(stage.name)) for stage in self.stages]
        schedules = [s.scheduler(optimizer) for s, optimizer in zip(self.stages, made, strict=True) if s.scheduler is not None]
        return (made, schedules) if schedules else made

    # ---- transition matrices

    def score_probs(self) -> tuple[Tensor, Tensor]:
        """Probabilities (M, K) of the network on all training rows (M,), in eval mode and without augmentation; with the rows."""
        tables, visited = self.score(lambda batch: {"probs": self._probs(batch)})
        return tables["probs"][visited], visited.nonzero().flatten()

    def _probs(self, batch: EvalBatch) -> Tensor:
        return F.softmax(self(batch.inputs).float(), 1)

    def set_transition(self, matrix: Tensor, anchors: Tensor | None = None) -> None:
        """Start using a matrix (K, K).

        Args:
            matrix: rows the true classes, columns the given ones.
            anchors: (K,) rows of the training set that the matrix was read from, if any.
        """
        self.matrices["transition"].copy_(matrix)
        if anchors is None:
            self.matrices["anchor"].fill_(-1)
        else:
            self.matrices["anchor"].copy_(anchors)

    def find_transition(self, oracle: Factory[Noise] | None = None) -> None:
        """Start using the given matrix, from an oracle or a file, or else the estimate of the current network."""
        known = known_transition(self.transition, oracle, self.info)
        if known is not None:
            self.set_transition(known)
        else:
            found = self.estimate(self.transition)
            self.set_transition(found.transition, found.rows)

    def transition_matrix(self) -> Tensor | None:
        """The matrix in use; None before there is one."""
        matrix = self.matrices["transition"]
        return matrix if bool(matrix.any()) else None

    def anchor_rows(self) -> Tensor | None:
        """(K,) rows of the training set that represent the classes in the estimate; None if there are none."""
        rows = self.matrices["anchor"]
        return rows if bool((rows >= 0).all()) else None

    def estimate(self, estimator: str) -> Anchors:
        """The current network's estimate by one of `ESTIMATORS`; the anchors are rows of the training set."""
        probs, rows = self.score_probs()
        given = self.info.given_target.to(rows.device)[rows]
        percentile = 97.0 if estimator.endswith("97") else None
        dual = estimator.startswith("dual")
        with said_once(self.current_epoch):
            found = dual_transition(probs, given, percentile) if dual else anchor_transition(probs, percentile)
        return Anchors(found.transition, rows[found.rows])


@contextmanager
def said_once(epoch: int) -> Iterator[None]:
    """Show warnings raised inside on the first rank only, prefixed with the epoch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        rank_zero_warn(f"epoch {epoch}: {warning.message}")


def check_estimator(transition: str) -> None:
    """Refuse, when a method is constructed, anything that is neither an estimator nor a file name.

    Raises:
        ValueError: naming the estimators.
    """
    if transition not in ESTIMATORS and not transition.endswith((".npy", ".npz", ".csv")):
        raise ValueError(
            f"transition must be one of {', '.join(ESTIMATORS)}, or a file of a matrix (.npy, .npz, .csv), got {transition!r}"
        )


def noise_factory(oracle: NoiseFactory | None) -> Factory[Noise] | None:
    """The kind of noise given to a method, in a form that a checkpoint can hold."""
    return None if oracle is None else as_factory(oracle, Noise, "oracle")  # type: ignore[type-abstract]


def known_transition(transition: str, oracle: Factory[Noise] | None, info: DataInfo) -> Tensor | None:
    """The matrix (K, K) given to a method, from the oracle or a file; None if it is to be estimated.

    Of open-set noise it is the matrix of the K known classes among themselves.

    Raises:
        ValueError: if the file holds no transition matrix of K classes, or the noise does not know its matrix.
            FileNotFoundError: if the file does not exist.
    """
    if oracle is not None:
        noise = oracle()
        if isinstance(noise, OpenSet):  # it would take K for the number of source classes, and know fewer
            noise = OpenSet(noise.rate, 0.0, noise.closed)
        return noise.transition_matrix(info.num_classes, info.class_names)
    return None if transition in ESTIMATORS else read_transition(transition, info.num_classes)
