"""Backward correction of the loss."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from noisylab.arguments import Limit, Range
from noisylab.estimation import invert
from noisylab.losses import backward_loss
from noisylab.methods.forward import Forward
from noisylab.methods.staged import said_once
from noisylab.models.network import NetFactory
from noisylab.types import PlanBatch

__all__ = ["Backward"]


class Backward(Forward):
    """Trains on an unbiased estimate of the loss that the true labels would have, by the inverse of the transition matrix.

    Derived from `Forward`, with which it shares the matrix, the stages and the arguments: only the loss differs.

    Objective: ``L = mean_n sum_j T^-1[y_n, j] (-log p_n[j])``. Averaged over the given labels that T says a true label i gives,
    this is ``-log p[i]``.

    T^-1 has negative entries, so the loss has no lower bound of its own: a network that can fit the samples one by one would
    drive it to minus infinity. As in the authors' code, probabilities are therefore held in [1e-7, 1 - 1e-7]
    (`least_probability`), and have no gradient where they would leave. The loss is then bounded, but still falls far below 0:
    train with a small rate, limit the gradient (`clip_norm`), and do not choose by the training loss. A matrix that is nearly
    singular makes the weights of the samples huge: above a condition number of 10,000 the pseudo-inverse is taken, with a
    warning.

    **Paper**: Patrini, Rozza, Menon, Nock and Qu, Making Deep Neural Networks Robust to Label Noise: a Loss Correction
    Approach, CVPR 2017.

    **Authors' code**: https://github.com/giorgiop/loss-correction; see `Forward`.

    **Differences**: see `Forward`; the inverse is computed in float64.

    Args:
        num_classes: K.
        network: factory of the network.
        cap: largest loss of a sample; None for no limit. It limits how much a wrong label can cost, not how low the loss can
            fall.
        least_probability: c, in (0, 0.5): probabilities are clamped to [c, 1 - c] in the corrected loss, without a gradient
            outside that range; None for no limit, as in the formula.
        **forward: see `Forward`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> Backward(num_classes=3, network=partial(MLP, in_features=4), clip_norm=5.0).optimizer_names
        ('warmup', 'corrected')
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        cap: Limit = None,
        least_probability: Annotated[float, Range(0, 0.5, "()", none="no limit")] | None = 1e-7,
        **forward: Any,
    ) -> None:
        super().__init__(num_classes, network, **forward)
        self.cap, self.least_probability = cap, least_probability
        self.matrices.add("inverse", num_classes)
        self.matrices.allocate(num_classes)

    def set_transition(self, matrix: Tensor, anchors: Tensor | None = None) -> None:
        """Start using a matrix (K, K) and its inverse."""
        super().set_transition(matrix, anchors)
        with said_once(self.current_epoch):
            self.matrices["inverse"].copy_(invert(matrix))

    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        """Cross-entropy, and then the corrected loss."""
        if stage == "warmup":
            return super().loss(stage, batch, logits)
        target, inverse = batch["train"].target, self.matrices["inverse"]
        losses = backward_loss(logits, target, inverse, cap=self.cap, least_probability=self.least_probability, reduction="none")
        return self.mean(losses)
