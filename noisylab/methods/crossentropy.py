"""Plain cross-entropy: the control for every other method."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import FractionBelowOne, NonNegative
from noisylab.engine.optimizers import one_for_all, optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory
from noisylab.transforms.mixing import cutmix, mixup
from noisylab.types import LRSchedulerFactory, OptimizerFactory, PlanBatch

__all__ = ["CrossEntropy"]


class CrossEntropy(NoisyLabelMethod):
    """Trains one network on the given labels, right or wrong.

    Every other method is compared with this one. It first learns what the right labels have in common and then memorizes the
    wrong
    ones: its test accuracy peaks early and falls, so look at the best epoch and at the last ones.

    Objective: ``L = mean_i -log p_i[y_i]``, with y_i the given label of sample i and p_i the network's probabilities. With mixup,
    inputs ``x' = lam x_i + (1 - lam) x_j`` and ``L = lam CE(x', y_i) + (1 - lam) CE(x', y_j)``, lam from Beta(alpha, alpha), one
    draw and one pairing a batch; CutMix pastes a box instead.

    **Paper**: mixup, Zhang et al., ICLR 2018; label smoothing, Szegedy et al., CVPR 2016; CutMix, Yun et al., ICCV 2019.

    **Authors' code**: none; the defaults are those of the benchmark of KlemenVovk/noisy-labels (SGD, 0.1 at epoch 60).

    **Differences**: with mixup or CutMix no unmixed input is seen in training, so nothing is observed online.

    Args:
        num_classes: K.
        network: factory of the network.
        label_smoothing: fraction in [0, 1).
        smoothing: "torch" spreads the fraction over all classes, "others" over the other classes.
        mixup_alpha: of Beta(alpha, alpha); 0 for none.
        cutmix_alpha: the same for CutMix; at most one of the two may be positive.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> CrossEntropy(num_classes=3, network=partial(MLP, in_features=4)).headline
        'network'
    """

    recordable = True  # mixing is noticed, since it draws on the host

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        label_smoothing: FractionBelowOne = 0.0,
        smoothing: Literal["torch", "others"] = "torch",
        mixup_alpha: NonNegative = 0.0,
        cutmix_alpha: NonNegative = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        if mixup_alpha > 0 and cutmix_alpha > 0:
            raise ValueError(f"mixup_alpha={mixup_alpha} and cutmix_alpha={cutmix_alpha}: choose one, set the other to 0")
        self.label_smoothing, self.smoothing = label_smoothing, smoothing
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, "network")

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        losses = cross_entropy(logits, target, smoothing=self.label_smoothing, convention=self.smoothing, reduction="none")
        return self.mean(losses)

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        """One batch: cross-entropy to the given labels, mixed if asked."""
        samples = batch["train"]
        (inputs,) = samples.views
        if self.mixup_alpha > 0 or self.cutmix_alpha > 0:
            assert isinstance(inputs, Tensor)
            mix, alpha = (mixup, self.mixup_alpha) if self.mixup_alpha > 0 else (cutmix, self.cutmix_alpha)
            mixed, order, lam = mix(inputs, alpha)
            logits = self(mixed)
            loss = lam * self._loss(logits, samples.target) + (1 - lam) * self._loss(logits, samples.target[order])
        else:
            logits = self(inputs)
            self.observe(samples.index, logits, samples.target)
            loss = self._loss(logits, samples.target)
        self.means.add("train/loss", loss, batch.weight_of("train"))
        return loss

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return one_for_all(self.networks.parameters(), self.optimizer, self.scheduler)
