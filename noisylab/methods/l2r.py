"""Learning to reweight examples."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from noisylab.arguments import NonNegative
from noisylab.engine.step import step
from noisylab.losses import cross_entropy
from noisylab.meta import derivative, loss_derivative
from noisylab.methods.reweighting import ReweightingMethod
from noisylab.models.network import NetFactory
from noisylab.specs import Factory
from noisylab.transforms.mixing import mix, mix_weight
from noisylab.types import PlanBatch

__all__ = ["L2R"]


class L2R(ReweightingMethod):
    """Weights each sample of a batch by how much a step on it would lower the loss on a few trusted samples.

    In each step, with l_i the cross-entropy of training sample i to its given label and V the mean cross-entropy of a trusted
    batch: ``u_i = -dV(theta - alpha grad sum_j eps_j l_j(theta)) / d eps_i`` at eps = 0, weights
    ``w_i = max(u_i, 0) / sum_j max(u_j, 0)``, all 0 where no u_i is positive, and a step of the optimizer on
    ``sum_i w_i l_i``. As the look-ahead step starts at theta itself, ``u_i = alpha <grad l_i, grad V>``: a derivative of l_i
    along grad V, which a forward pass with tangents finds for all samples at once, exactly; alpha cancels. The same pass
    serves the update.

    A sample is taken as clean where its last weight is positive; the weight is the score. The trusted rows are
    `data.trusted_labels` or `data.trusted_per_class`; they are never training samples themselves.

    Objective: ``sum_i w_i CE(f(x_i), y_i)``.

    **Paper**: Ren, Zeng, Yang and Urtasun, Learning to Reweight Examples for Robust Deep Learning, ICML 2018,
    https://arxiv.org/abs/1803.09050

    **Authors' code**: https://github.com/uber-research/learning-to-reweight-examples

    **Differences** from that code: no second network and no second derivative (the weights are equal up to rounding); running
    batch statistics see training batches alone; under several ranks weights sum to one over all of them. `mixup_alpha` and a
    `weight_norm` other than "batch" are ours. Their data of CIFAR with 40 % noise has exactly that share of the rows relabeled
    by floor(U(0, K - 1)): never as the last class, and as the own class as often as any other, so that 36 % are wrong;
    ``Symmetric(own_class=True, exact=True)`` is the nearest here, which also draws the last class. The paper mentions other
    classes only. 100 images are trusted by default there, 1,000 in the paper; 5,000 are held out, images are in [-1, 1] and
    cropped out of a padding of 2, and V on CIFAR has the weight decay (`trusted_decay`), all as in the recipe.

    **Compared**: not with a run of the authors' code; the tests compare every weight with a plain loop that takes the
    gradient of a gradient.

    Args:
        num_classes: K.
        network: factory of the network.
        meta_batch_size: M, trusted samples a step, over all ranks; None for as many as training samples. 100 on CIFAR.
        weight_norm: what a sample's score is divided by. "batch": the batch's sum, which gives a batch of wrong labels as much
            weight as one of right ones; "running": a moving average of that sum; "epoch": its mean over all samples, of the
            epoch before (the first epoch is by batch).
        mixup_alpha: alpha of Beta(alpha, alpha) for mixup in the update, where each part of a mixed sample keeps the weight of
            the sample that it comes from; 0 for no mixup. Mixup costs one more forward pass.
        trusted_decay: d, 0 or more: V gets d/2 |theta|^2. In the authors' code on CIFAR d is the optimizer's weight decay.
        view: name of the view of training and trusted rows.
        ema_decay: share of the old weights in an averaged copy of the network, 0.999 in Google's port; None for no copy.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 2e-4 if None.
        **reweighting: see `noisylab.methods.reweighting.ReweightingMethod`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> L2R(num_classes=3, network=partial(MLP, in_features=4)).headline
        'main'
    """

    mixes_by: ClassVar[tuple[str, ...]] = ("mixup_alpha",)
    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 2e-4})

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        mixup_alpha: NonNegative = 0.0,
        trusted_decay: NonNegative = 0.0,
        view: str = "weak",
        **reweighting: Any,
    ) -> None:
        super().__init__(num_classes, network, **reweighting)
        self.mixup_alpha, self.trusted_decay = mixup_alpha, trusted_decay
        self.train_views = (view,)

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """Weight the batch, and take a step on its weighted sum."""
        samples = batch["train"]
        (inputs,), y, network = samples.views, samples.target, self.networks["main"]
        direction, trusted_loss = self._direction(batch)
        if "main" not in self.forms:
            self.settle_form("main", inputs, direction, lambda z, dz: loss_derivative(z, dz, y).clamp(min=0))
            direction, trusted_loss = self._direction(batch)  # in the form that was chosen
        if self.mixup_alpha:
            found = derivative(network, inputs, direction, self.forms["main"])
            logits = found[0]
        else:
            logits, found = self.forward_along("main", inputs, direction)
        self.observe(samples.index, logits, y)
        weights = self.weigh(batch, "main", loss_derivative(*found, y), trusted_loss)
        loss = self._mixed(inputs, y, weights) if self.mixup_alpha else self._weighted(logits, y, weights)
        step(self, {"main": loss}, clip_norm=self.clip_norm)
        self.follow(batch)
        self.means.add("train/loss", loss, batch.weight_of("train"))

    def _direction(self, batch: PlanBatch) -> tuple[dict[str, Tensor], Tensor]:
        """grad V at theta, by name, and the trusted cross-entropy."""
        decay = {name: self.trusted_decay for name, _ in self.networks["main"].named_parameters()} if self.trusted_decay else None
        return self.trusted_gradient(batch, "main", decay=decay)

    def _weighted(self, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return self.weighted_sum(weights, cross_entropy(logits, target, reduction="none"))

    def _mixed(self, inputs: Any, target: Tensor, weights: Tensor) -> Tensor:
        """The loss of mixed samples: to the label of either part, with that part's share and weight."""
        lam = mix_weight(self.mixup_alpha)
        order = torch.randperm(len(target), device=target.device)
        logits = self.checked(self.networks["main"](mix(inputs, order, lam)))
        own, other = (self._weighted(logits, target[rows], weights[rows]) for rows in (slice(None), order))
        return lam * own + (1 - lam) * other

    def clean_mask(self) -> Tensor | None:
        """Samples whose last weight is positive; None before training."""
        weights = self.clean_prob()
        return None if weights is None else weights > 0
