"""FixMatch, and with other threshold policies FlexMatch, FreeMatch, SoftMatch, Dash and AdaMatch."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from noisylab.arguments import NonNegative, Positive
from noisylab.losses import cross_entropy, fairness, sharpen, soft_cross_entropy
from noisylab.methods.semisupervised import SemiSupervised, probabilities
from noisylab.models.network import NetFactory
from noisylab.selection.thresholds import FixedThreshold, FreeMatchThreshold, PolicyFactory
from noisylab.transforms.mixing import one_hot
from noisylab.types import PlanBatch

__all__ = ["FixMatch"]


class FixMatch(SemiSupervised):
    """Predicts the class of an unlabeled row from a weak view and, if sure of it, learns that class on a strong view.

    Each step has labeled rows and mu times as many unlabeled ones. For an unlabeled row, the network's prediction on a weak view
    (flip, crop) is the pseudo-label, and the network learns it on a strong view (RandAugment, and a gray square). The threshold
    policy decides which rows count, and how much. With another policy, the same step is one of FixMatch's successors:

    - FlexMatch (Zhang et al., NeurIPS 2021): `noisylab.selection.thresholds.FlexMatchThreshold`
    - FreeMatch (Wang et al., ICLR 2023): `FreeMatchThreshold`, with `fairness_weight`
    - SoftMatch (Chen et al., ICLR 2023): `SoftMatchThreshold`
    - Dash (Xu et al., ICML 2021): `DashThreshold`
    - AdaMatch (Berthelot et al., ICLR 2022): `AdaMatchThreshold`

    Objective of a step, with B labeled rows (x, y), ``mu B`` unlabeled rows u, z the logits and p the softmax of them on the weak
    view: ``L = mean_x CE(z(x), y) + lambda_u / (mu B) sum_u w_u CE(z(strong u), argmax p(u)) + w_f L_f``. FixMatch has
    ``w_u = 1[max p(u) >= 0.95]``; rows that do not pass stay in the denominator. L_f is FreeMatch's fairness term
    (`noisylab.losses.fairness`), 0 in steps in which no row passes. The evaluated network is an average of the weights over the
    steps, ``m <- 0.999 m + 0.001 f``, with the running batch statistics of the trained network.

    The authors use all training rows as unlabeled rows, the labeled ones included: ``include_labeled=True``. On data with
    wrong labels, the labeled rows are the trusted ones, and the unlabeled rows are the others, or all.

    **Paper**: Sohn et al., FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, NeurIPS 2020, arXiv
    2001.07685.

    **Authors' code**: https://github.com/google-research/fixmatch. We read kekmodel/FixMatch-pytorch, whose results match the
    paper's or are better, and microsoft/Semi-supervised-learning (USB), commit 1ef4cbe.

    **Differences** from kekmodel's code: rows are not interleaved, which makes no difference when all rows pass through the
    network together on one device; batch statistics and policies see the rows of all processes; each pass over the rows has its
    own order, from the run's seed (there, the few labeled rows are repeated in a list, and no seed is set by default). A schedule
    that spans the run (`noisylab.schedules.CosineDecay`) advances after each step, as there. AdaMatch's random interpolation of
    logits and the ramp of its weight are left out, as in USB.

    **Compared**: not with a run of the authors' code; the tests compare whole epochs with an independent loop.

    Args:
        num_classes: K.
        network: factory of the network.
        policy: factory of the threshold policy; None for a fixed threshold of 0.95.
        lambda_u: weight of the unlabeled rows' loss.
        labels: whether pseudo-labels are "hard" (the predicted class) or "soft" (``p^(1/T)``, normalized to sum 1). Dash makes
            its own labels.
        temperature: T, of soft pseudo-labels.
        fairness_weight: w_f, weight of FreeMatch's fairness term: 0.01, or 0.001 with 40 labels of CIFAR-10. Needs
            `FreeMatchThreshold`.
        weak_view: name of the weak view.
        strong_view: name of the strong view.
        ratio: mu, unlabeled rows per labeled row in a step.
        decay_on: whether weight decay applies only to "weights", not to biases and normalization, or to "all" parameters.
        **semisupervised: see `noisylab.methods.semisupervised.SemiSupervised`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> FixMatch(num_classes=3, network=partial(MLP, in_features=4)).policy
        FixedThreshold(threshold=0.95)
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        policy: PolicyFactory | None = None,
        lambda_u: NonNegative = 1.0,
        labels: Literal["hard", "soft"] = "hard",
        temperature: Positive = 1.0,
        fairness_weight: NonNegative = 0.0,
        weak_view: str = "weak",
        strong_view: str = "strong",
        ratio: Positive = 7.0,
        decay_on: Literal["all", "weights"] = "weights",
        **semisupervised: Any,
    ) -> None:
        chosen = FixedThreshold if policy is None else policy
        super().__init__(num_classes, network, ratio=ratio, policy=chosen, decay_on=decay_on, **semisupervised)
        if fairness_weight and not isinstance(self.policy, FreeMatchThreshold):
            raise ValueError(
                f"fairness_weight={fairness_weight} goes by what FreeMatchThreshold remembers, and the policy is "
                f"{type(self.policy).__name__}; set policy to FreeMatchThreshold, or fairness_weight to 0"
            )
        self.lambda_u, self.labels, self.temperature = lambda_u, labels, temperature
        self.fairness_weight = fairness_weight
        self.labeled_views, self.unlabeled_views = (weak_view,), (weak_view, strong_view)

    def objective(self, batch: PlanBatch) -> Tensor:
        """One step: labels, pseudo-labels, and how much each of the latter counts."""
        labeled, (weak, strong) = batch["labeled"], batch["unlabeled"].views
        (z, z_weak, z_strong), rotation = self.see(batch, labeled.views[0], weak, strong)
        found = self.weigh(batch, probabilities(z_weak), z_weak, z)
        self.note_labeled(batch, z)
        loss = self.labeled_loss(batch, cross_entropy(z, labeled.target, reduction="none")) + rotation
        loss = loss + self.unlabeled_loss(batch, self._losses(z_strong, found.probs), found.weight, self.lambda_u)
        return loss + self._fairness(batch, z_strong, found.weight) if self.fairness_weight else loss

    def _losses(self, logits: Tensor, probs: Tensor) -> Tensor:
        """The cross-entropy (B,) of strong views to the pseudo-labels made from `probs`."""
        if self.policy.soft_labels:
            return soft_cross_entropy(logits, probs, reduction="none")
        if self.labels == "soft":
            return soft_cross_entropy(logits, sharpen(probs, self.temperature), reduction="none")
        return cross_entropy(logits, probs.argmax(1), reduction="none")

    def _fairness(self, batch: PlanBatch, logits: Tensor, weight: Tensor) -> Tensor:
        """w_f L_f, over the rows of all ranks that pass."""
        policy, kept = self.policy, (weight > 0).float()[:, None]
        assert isinstance(policy, FreeMatchThreshold)
        probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
        predicted = self.sum_over_ranks((one_hot(probs.argmax(1), probs.detach()) * kept).sum(0))
        count = predicted.sum().clamp(min=1)
        term = fairness(self.whole_sum((probs * kept).sum(0)) / count, predicted / count, policy.mean_probs, policy.histogram)
        loss = self.fairness_weight * torch.where(predicted.sum() > 0, term, torch.zeros_like(term))
        self.means.add("train/fairness_loss", loss, batch.weight_of("unlabeled"))
        return loss
