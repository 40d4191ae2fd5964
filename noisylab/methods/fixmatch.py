"""FixMatch, and with other threshold policies FlexMatch, FreeMatch, SoftMatch, Dash and AdaMatch."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from noisylab.arguments import NonNegative, Positive
from noisylab.losses import cross_entropy, sharpen, soft_cross_entropy
from noisylab.methods.semisupervised import SemiSupervised, probabilities
from noisylab.models.network import NetFactory
from noisylab.selection.thresholds import FixedThreshold, PolicyFactory
from noisylab.types import PlanBatch

__all__ = ["FixMatch"]


class FixMatch(SemiSupervised):
    """Trains on strongly augmented unlabeled rows with the class that the network surely predicts for a weak view of them.

    Args:
        num_classes: K.
        network: factory of the network.
        policy: factory of the threshold policy.
        lambda_u: weight of the unlabeled rows' loss.
        labels: whether pseudo-labels are "hard", the class predicted, or "soft", the probabilities themselves.
        temperature: T of soft pseudo-labels.
        weak_view: name.
        strong_view: name.
        ratio: mu.
        **semisupervised: see `noisylab.methods.semisupervised.SemiSupervised`.
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        policy: PolicyFactory | None = None,
        lambda_u: NonNegative = 1.0,
        labels: Literal["hard", "soft"] = "hard",
        temperature: Positive = 1.0,
        weak_view: str = "weak",
        strong_view: str = "strong",
        ratio: Positive = 7.0,
        decay_on: Literal["all", "weights"] = "weights",
        **semisupervised: Any,
    ) -> None:
        super().__init__(
            num_classes,
            network,
            ratio=ratio,
            policy=FixedThreshold if policy is None else policy,
            decay_on=decay_on,
            **semisupervised,
        )
        self.lambda_u, self.labels, self.temperature = lambda_u, labels, temperature
        self.labeled_views, self.unlabeled_views = (weak_view,), (weak_view, strong_view)

    def objective(self, batch: PlanBatch) -> Tensor:
        """One step: labels, pseudo-labels, and how much each of the latter counts."""
        labeled, (weak, strong) = batch["labeled"], batch["unlabeled"].views
        (z, z_weak, z_strong), rotation = self.see(batch, labeled.views[0], weak, strong)
        found = self.weigh(batch, probabilities(z_weak), z_weak, z)
        self.note_labeled(batch, z)
        if self.labels == "soft" or self.policy.soft_labels:
            target = found.probs if self.policy.soft_labels else sharpen(found.probs, self.temperature)
            losses = soft_cross_entropy(z_strong, target, reduction="none")
        else:
            losses = cross_entropy(z_strong, found.probs.argmax(1), reduction="none")
        loss = self.labeled_loss(batch, cross_entropy(z, labeled.target, reduction="none"))
        return loss + self.unlabeled_loss(batch, losses, found.weight, self.lambda_u) + rotation
