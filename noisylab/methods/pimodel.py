"""The Pi-model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from noisylab.arguments import NonNegative, Positive, Range
from noisylab.losses import cross_entropy, squared_error
from noisylab.methods.semisupervised import SemiSupervised, probabilities
from noisylab.models.network import NetFactory
from noisylab.schedules import linear_rampup, sigmoid_rampup
from noisylab.types import PlanBatch

__all__ = ["PiModel"]


class PiModel(SemiSupervised):
    """Learns to predict the same for two augmented views of a row, whether it has a label or not.

    Both views of a row go through the network, each with its own augmentation and dropout. If the predictions differ, the
    network is not sure of the row; making them agree moves the boundaries between classes to where there are few rows.

    Objective of a step, with B labeled rows (x, y), unlabeled rows u, z the logits and p their softmax:
    ``L = mean_x CE(z(x), y) + w(s) mean_u d(p(u), p(u'))`` with u and u' two views, the second without gradient unless
    `gradient` says otherwise, d the squared distance, a mean over the classes, and
    ``w(s) = consistency * r(t)``, where t is the share of the ramp that step s has passed: r(t) = t, or
    ``exp(-5 (1 - t)^2)`` with ``ramp="sigmoid"``.

    **Paper**: Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017, arXiv 1610.02242.

    **Authors' code**: https://github.com/smlaine2/tempens; settings here are those of microsoft/Semi-supervised-learning (USB),
    commit 1ef4cbe.

    **Differences** from USB's code: all rows of a step go through the network together and count in its batch statistics (there,
    unlabeled ones do not: ``passes="labeled"``). The paper has gradients through both views and a sigmoid ramp over 80 epochs:
    ``gradient="both"``, ``ramp="sigmoid"``, ``ramp_epochs=80``.

    **Compared**: not with a run of the authors' code; the tests compare whole epochs with an independent loop.

    Args:
        num_classes: K.
        network: factory of the network.
        consistency: largest weight of the second term of the loss.
        ramp: how that weight rises from its start.
        ramp_share: length of the ramp, as a share of the run's steps.
        ramp_epochs: the same in epochs instead; 0 for the full weight from the start.
        consistency_on: "unlabeled" rows, or "all", which gives labeled rows a second view, too.
        distance: whether d is the "mean" over the classes or the "sum", which is K times as large.
        gradient: whether the gradient flows through "one" view or "both".
        view: name of the first view of unlabeled rows.
        second_view: name of the second.
        labeled_view: name of the first view of labeled rows; the second, if there is one, is the same as for unlabeled rows.
        ratio: unlabeled rows per labeled row in a step.
        **semisupervised: see `noisylab.methods.semisupervised.SemiSupervised`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> PiModel(num_classes=3, network=partial(MLP, in_features=4)).headline
        'network_average'
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        consistency: NonNegative = 10.0,
        ramp: Literal["linear", "sigmoid"] = "linear",
        ramp_share: Annotated[float, Range(0, 1)] = 0.4,
        ramp_epochs: Annotated[float, Range(0, none="a share of the run")] | None = None,
        consistency_on: Literal["unlabeled", "all"] = "unlabeled",
        distance: Literal["mean", "sum"] = "mean",
        gradient: Literal["one", "both"] = "one",
        view: str = "weak",
        second_view: str = "weak",
        labeled_view: str = "weak",
        ratio: Positive = 1.0,
        **semisupervised: Any,
    ) -> None:
        super().__init__(num_classes, network, ratio=ratio, **semisupervised)
        self.consistency, self.ramp, self.ramp_share, self.ramp_epochs = consistency, ramp, ramp_share, ramp_epochs
        self.consistency_on, self.distance, self.gradient = consistency_on, distance, gradient
        self.unlabeled_views = (view, second_view)
        self.labeled_views = (labeled_view, second_view) if consistency_on == "all" else (labeled_view,)

    def objective(self, batch: PlanBatch) -> Tensor:
        """One step: labels, and how far apart the predictions for two views are."""
        labeled, (first, second) = batch["labeled"], batch["unlabeled"].views
        also = labeled.views[1:]  # of labeled rows, if predictions for them have to agree, too
        (z, z_first, z_second, *rest), rotation = self.see(batch, labeled.views[0], first, second, *also)
        return self.agreement(batch, z, z_first, [z_second, *rest], rotation)

    def agreement(self, batch: PlanBatch, z: Tensor, z_first: Tensor, seconds: list[Tensor], rotation: Tensor) -> Tensor:
        """The objective of a step.

        Args:
            batch: the step's.
            z: (L, K) logits of the first view of labeled rows.
            z_first: (B, K) of the first view of unlabeled rows.
            seconds: logits of the second views: of unlabeled rows and, if they count, of labeled ones.
            rotation: () loss of the rotation head.
        """
        weight = self.weigh(batch, probabilities(seconds[0]), seconds[0], z).weight
        self.note_labeled(batch, z)
        losses, weights = [self.apart(z_first, seconds[0])], [weight]
        for other in seconds[1:]:
            losses.append(self.apart(z, other))
            weights.append(weight.new_ones(len(other)))
        loss = self.labeled_loss(batch, cross_entropy(z, batch["labeled"].target, reduction="none"))
        return loss + self.unlabeled_loss(batch, torch.cat(losses), torch.cat(weights), self.factor(batch)) + rotation

    def apart(self, logits: Tensor, other: Tensor) -> Tensor:
        """d of each row (B,), in at least float32.

        Args:
            logits: (B, K) of one view.
            other: (B, K) of the other; without gradient, unless `gradient` is "both".
        """
        wide = other.to(torch.promote_types(other.dtype, torch.float32))
        target = wide.softmax(1) if self.gradient == "both" else probabilities(other)
        losses = squared_error(logits, target)
        return losses if self.distance == "mean" else self.num_classes * losses

    def factor(self, batch: PlanBatch) -> float:
        """w(s), the weight of the second term of the loss."""
        return self.consistency * (linear_rampup if self.ramp == "linear" else sigmoid_rampup)(*self.passed(batch))

    def passed(self, batch: PlanBatch) -> tuple[float, float]:
        """Steps, or epochs and parts of them, before this step, and the length of the ramp in the same unit."""
        taken = batch.epoch * batch.steps + batch.step
        if self.ramp_epochs is not None:
            return taken / batch.steps, self.ramp_epochs
        return taken, self.ramp_share * self.run_length
