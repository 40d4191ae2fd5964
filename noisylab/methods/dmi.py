"""Determinant-based mutual information."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import NonNegative
from noisylab.engine.optimizers import optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy, dmi_loss, joint_matrix
from noisylab.methods.staged import Stage, StagedMethod
from noisylab.models.network import NetFactory
from noisylab.selection.balanced import spread_classes
from noisylab.transforms.draws import key_from
from noisylab.types import EpochPlan, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["DMI"]


class DMI(StagedMethod):
    """Fine-tunes a network for the mutual information between its predictions and the given labels.

    Let U be the K x K joint matrix of given label and prediction. Noise that depends on the class alone multiplies it by the
    transition matrix T, so ``log |det U|`` changes by the constant ``log |det T|``: what maximizes it on the given labels
    maximizes it on the true ones, whatever T is.

    Objective, after `pretrain_epochs` of cross-entropy: ``L = -log(|det U| + offset)``, ``U[k, c]`` the sum over the batch of
    p_n[c] where y_n = k. U is a sum, not a mean: divided by the batch size its determinant would vanish beside the offset.

    The network must be trained first: with fresh weights U is nearly singular, and the gradient vanishes, or explodes without the
    offset. Swapping two columns of U leaves the loss as it is, so only the first stage gives the classes their names; choose by
    accuracy, never by this loss. The loss is not a mean over samples: it depends on the batch size.

    If no sample of the batch has the label of some class, U has a row of zeros: the loss is ``-log offset`` and its gradient 0,
    so the step is lost but for weight decay and momentum. ``train/lost_steps`` is the share of such batches. With 10 classes and
    128 samples that is one in 70,000, with 100 classes and 256 nearly every one: take larger batches, or `spread`.

    **Paper**: Xu, Cao, Kong and Wang, L_DMI: A Novel Information-theoretic Loss Function for Training Deep Nets Robust to Label
    Noise, NeurIPS 2019.

    **Authors' code**: https://github.com/Newbeeer/L_DMI

    **Differences** from that code: the determinant is taken as its logarithm, which neither vanishes nor overflows; the best
    epoch of each stage is that of the highest accuracy on the whole validation set, the first of equals. On CIFAR-10 theirs is
    that of the whole set in the first stage, the last of equals, and that of the set's first batch in the second, where it must
    beat the network that the stage began with; on Fashion-MNIST, where U is divided by the batch size, and on Dogs vs. Cats the
    second stage chooses by this loss. The optimizer keeps its momentum from epoch to epoch (there it is made anew); short last
    batches are trained on, or join the one before (there left out). Labels of a given noise are drawn otherwise than theirs,
    which come from one call of ``np.random.choice`` a sample: the rates are the same, the labels are not. Under several ranks U
    is that of the whole batch.

    Args:
        num_classes: K.
        network: factory of the network.
        pretrain_epochs: epochs of cross-entropy; 120 on CIFAR-10, 10 on Clothing1M. 0 for a run that starts from a trained one
            (``--init_from``): on an untrained network the gradient of this loss vanishes, or explodes without the offset.
        offset: added to the determinant, 0 or more; 0 takes the logarithm as it is, which is infinite where a class is absent.
        spread: order the samples of each epoch of the second stage so that every batch has nearly the shares of given labels
            that the whole set has.
        pretrain_optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 1e-4 if None.
        pretrain_scheduler: the authors divide the rate by 10 after 40 and 80 epochs on CIFAR-10; constant if None.
        optimizer: factory of the second stage's optimizer; SGD with rate 1e-6, momentum 0.9 and weight decay 1e-4 if None. The
            rate is this small on purpose: the logarithm of a large batch's determinant is steep.
        scheduler: factory of the schedule of the second stage, counted from the start of that stage; a constant rate if None.
        select_by: what makes an epoch of the first stage the best: "val_acc" (authors' code) or "val_loss", on held-out rows.
        **staged: see `noisylab.methods.staged.StagedMethod`.

    Raises:
        ValueError: for an argument out of its range.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> DMI(num_classes=3, network=partial(MLP, in_features=4)).optimizer_names
        ('pretrain', 'dmi')
    """

    may_skip_first = True
    recordable = False  # the factorization behind the determinant was not tried inside a graph

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        pretrain_epochs: int = 120,
        offset: NonNegative = 1e-3,
        spread: bool = False,
        pretrain_optimizer: OptimizerFactory | None = None,
        pretrain_scheduler: LRSchedulerFactory | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        **staged: Any,
    ) -> None:
        super().__init__(num_classes, **staged)
        self.offset, self.spread = offset, spread
        first = optimizer_factory(pretrain_optimizer, SGD, lr=0.1, momentum=0.9, weight_decay=1e-4)
        second = optimizer_factory(optimizer, SGD, lr=1e-6, momentum=0.9, weight_decay=1e-4)
        self.add_stages(
            network,
            Stage("pretrain", pretrain_epochs, first, scheduler_factory(pretrain_scheduler)),
            Stage("dmi", None, second, scheduler_factory(scheduler)),
        )

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once, in an order that spreads the classes if requested."""
        stage = self.stages[self.stage_number(epoch)].name
        if stage == "pretrain" or not self.spread:
            return super().epoch_plan(epoch)
        rows = self.info.train_rows.cpu()
        generator = torch.Generator().manual_seed(key_from(self.info.seed, "spread", epoch))
        rows = spread_classes(rows, self.info.given_target.cpu()[rows], generator)
        return EpochPlan((Phase(stage, {"train": Stream(rows, (self.view,), order="sequential")}),))

    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        """Cross-entropy, and then the determinant of the batch."""
        target = batch["train"].target
        if stage == "pretrain":
            return self.mean(cross_entropy(logits, target, reduction="none"))
        joint = self.whole_sum(joint_matrix(logits, target))
        absent = (joint.detach().sum(1) == 0).any()
        self.means.add("train/lost_steps", absent.float())
        return dmi_loss(joint, offset=self.offset)
