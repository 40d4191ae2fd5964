"""VolMinNet."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import Finite, Limit, NonNegative
from noisylab.engine.optimizers import optimizer_factory, scheduler_factory
from noisylab.engine.step import step
from noisylab.estimation import VolumeMinimizing
from noisylab.losses import forward_loss, given_log_probs, log_volume
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory
from noisylab.types import EpochPlan, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["VolMinNet"]


class VolMinNet(NoisyLabelMethod):
    """Learns the transition matrix together with the network, choosing the matrix of least volume among those that fit.

    With ``T[i, j] = P(given = j | true = i)`` and p the network's probabilities of the true classes, those of the given labels
    are ``q = p T``. Many pairs of p and T give the same q; where the true classes are scattered enough, the right T is the one
    whose rows span the smallest simplex, with no need of samples that surely belong to a class.

    Objective: ``L = mean_n -log (p_n T)[y_n] + lambda log|det T|``. T has ones on the diagonal and ``sigmoid(w_ij)`` elsewhere,
    each row divided by its sum, so that the diagonal is the largest entry of each row; w is learned and starts at one value.

    Validation on given labels compares them with ``argmax q`` and takes the loss without the volume, the test and validation
    on clean labels compare with ``argmax p``. The authors report the epoch of the lowest validation loss
    (``checkpoint.monitor: val/loss``), and beside it that of the highest validation accuracy.

    **Paper**: Li, Liu, Han, Niu and Sugiyama, Provably End-to-end Label-Noise Learning without Anchor Points, ICML 2021.

    **Authors' code**: https://github.com/xuefeng-li1/Provably-end-to-end-label-noise-learning-without-anchor-points

    **Differences** from that code: ``log (p T)`` is computed from log p, which is finite where p T vanishes (there it is the
    logarithm of the product). The validation loss is the mean over the rows (there over the batches).

    Args:
        num_classes: K.
        network: factory of the network.
        volume_weight: lambda, 0 or more.
        initial_weight: w at the start; None for the authors' -2 with 10 classes and -4.5 with 100, and for other numbers of
            classes a line through both in log(K - 1).
        view: view of the samples that is trained on.
        clip_norm: largest gradient norm, separately for the network and for w; None for no limit.
        optimizer: factory for the network; SGD with rate 0.01, momentum 0.9 and weight decay 1e-4 if None.
        scheduler: factory for the network's rate; the authors divide by 10 after 30 and 60 epochs on CIFAR. A constant rate if
            None.
        transition_optimizer: factory for w, without weight decay; SGD with rate 0.01 and momentum 0.9 if None; Adam with rate
            0.01 on MNIST and CIFAR-100.
        transition_scheduler: factory for its rate; a constant rate if None.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> VolMinNet(num_classes=10, network=partial(MLP, in_features=4)).transition_matrix().diagonal()[0].item()
        0.4824...
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        volume_weight: NonNegative = 1e-4,
        initial_weight: Finite | None = None,
        view: str = "weak",
        clip_norm: Limit = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        transition_optimizer: OptimizerFactory | None = None,
        transition_scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.volume_weight, self.view, self.clip_norm = volume_weight, view, clip_norm
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.scheduler = scheduler_factory(scheduler)
        self.transition_optimizer = optimizer_factory(transition_optimizer, SGD, lr=0.01, momentum=0.9)
        self.transition_scheduler = scheduler_factory(transition_scheduler)
        self.add_networks(network, "network")
        self.transition = VolumeMinimizing(num_classes, initial_weight)

    @property
    def optimizer_names(self) -> tuple[str, ...]:
        """One for the network and one for the matrix."""
        return "network", "transition"

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once."""
        return EpochPlan((Phase(streams={"train": Stream(views=(self.view,))}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of the network and of the matrix, by one loss."""
        samples = batch["train"]
        logits = self(samples.views[0])
        self.observe(samples.index, logits, samples.target)
        matrix = self.transition()
        loss = self.mean(forward_loss(logits, samples.target, matrix, reduction="none"))
        volume = log_volume(matrix)
        step(self, {"network": loss + self.volume_weight * volume, "transition": None}, clip_norm=self.clip_norm)
        self.means.add("train/loss", loss, batch.weight_of("train"))
        self.means.add("train/log_volume", volume, batch.weight_of("train"))

    def given_logits(self, logits: Tensor) -> Tensor:
        """Log-probabilities (B, K) of the given labels."""
        return given_log_probs(logits, self.transition())

    def transition_matrix(self) -> Tensor | None:
        """The matrix (K, K) as learned so far."""
        return self.transition().detach()

    def configure_optimizers(self) -> Any:
        """One optimizer for the network and one for the matrix, each with its schedule where it has one."""
        made = [self.optimizer(self.networks.parameters()), self.transition_optimizer(self.transition.parameters())]
        schedules = [f(o) for f, o in zip((self.scheduler, self.transition_scheduler), made, strict=True) if f is not None]
        return (made, schedules) if schedules else made
