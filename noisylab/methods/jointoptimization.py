"""Joint optimization of network and labels."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import AtLeastOne, NonNegative
from noisylab.engine.optimizers import optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy, negative_entropy, prior_penalty, soft_cross_entropy
from noisylab.methods.staged import Stage, StagedMethod
from noisylab.models.network import NetFactory
from noisylab.types import LRSchedulerFactory, OptimizerFactory, PlanBatch

__all__ = ["JointOptimization"]


class JointOptimization(StagedMethod):
    """Replaces all labels with the network's recent predictions, then trains a new network on the final labels.

    With a high, constant rate a network fits what samples have in common and not the wrong labels; so, after a while, its own
    predictions, averaged over some epochs, are better labels than the given ones.

    Objective of the first stage, "relabel", with s_n the softmax of sample n, t_n its label of now (at first the given one),
    and m the mean of s over the batch: ``L = mean_n CE(s_n, t_n) - alpha sum_k pi_k log m_k - beta mean_n sum_k s_nk log s_nk``:
    the second part keeps all labels from becoming one class, the third makes predictions sure. The predictions s_n that a
    training step sees are kept; at the end of epoch e, from `warmup_epochs` on, t_n is their mean over the last `window` epochs,
    the class of which it is largest is the label where `labels` is "hard". The second stage, "train", is a new network and
    cross-entropy to the last t_n, which stay as they are.

    Both alpha and beta belong to the noise (see the recipes); no value serves all. The rate must be high enough that wrong
    labels are not learned before they are replaced, and low enough to train at all: look at ``labels/right`` and at the curves
    of memorization.

    ``clean_mask`` are the samples whose label of now is the given one, ``clean_prob`` is the share of t_n at the given label;
    None before labels are replaced. The field ``label`` of the memory holds t.

    **Paper**: Tanaka, Ikami, Yamasaki and Aizawa, Joint Optimization Framework for Learning with Noisy Labels, CVPR 2018.

    **Authors' code**: https://github.com/DaikiTanaka-UT/JointOptimization

    **Differences** from that code: with fewer warm-up epochs than `window` the mean is that of the epochs there are (there
    of zeros, too, so that labels sum to less than 1); a sample that an epoch leaves out, as one that is cut short does, keeps the
    prediction of `window` epochs before in that epoch's place, or none (there the latest one is entered again), and one that was
    in no batch at all keeps its given label; validation labels are the given ones unless the data says otherwise (there
    clean); m is at least the smallest float32 (there nothing keeps it from 0); images are normalized by channel (there by a mean
    image), see the recipes. The second part of L is reported less the constant log K, when pi is uniform.

    Args:
        num_classes: K.
        network: factory of the network.
        relabel_epochs: length of the first stage, at least 1; the second lasts to the end of the run.
        warmup_epochs: epochs of the first stage after which labels are replaced for the first time, at least 1.
        window: number of epochs whose predictions are averaged, at least 1.
        alpha: weight of the prior of the classes, 0 or more; 1.2 for symmetric noise of 70 %, 0.8 for asymmetric noise.
        beta: weight of the entropy, 0 or more; 0.8 and 0.4 there.
        labels: whether labels are distributions ("soft") or single classes ("hard").
        prior: pi, the shares of the true classes if you know them; None for equal shares.
        relabel_optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 1e-4 if None; 0.08 for symmetric noise of
            70 %, 0.03 for asymmetric noise.
        relabel_scheduler: factory of a schedule; a constant rate if None, as in the paper.
        optimizer: factory of the second stage's optimizer; SGD with rate 0.2, momentum 0.9 and weight decay 1e-4 if None.
        scheduler: factory of the schedule of the second stage, counted from the start of that stage; the authors divide the rate
            by 10 after 40 and 80 epochs.
        **staged: see `noisylab.methods.staged.StagedMethod`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> JointOptimization(num_classes=3, network=partial(MLP, in_features=4)).optimizer_names
        ('relabel', 'train')
    """

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        relabel_epochs: int = 200,
        warmup_epochs: AtLeastOne = 70,
        window: AtLeastOne = 10,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 0.5,
        labels: Literal["soft", "hard"] = "soft",
        prior: list[float] | None = None,
        relabel_optimizer: OptimizerFactory | None = None,
        relabel_scheduler: LRSchedulerFactory | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        **staged: Any,
    ) -> None:
        super().__init__(num_classes, hand_over="last", select_by="val_acc", **staged)
        if warmup_epochs > relabel_epochs:
            raise ValueError(
                f"warmup_epochs={warmup_epochs} is past the end of the first stage, relabel_epochs={relabel_epochs}, so no label "
                "would be replaced; lower the first or raise the second"
            )
        if prior is not None and (len(prior) != num_classes or min(prior) < 0 or abs(sum(prior) - 1) > 1e-6):
            raise ValueError(f"prior must be {num_classes} fractions from 0 to 1 that sum to 1, got {prior}; None for equal ones")
        self.warmup_epochs, self.window, self.alpha, self.beta = warmup_epochs, window, alpha, beta
        self.hard, self.prior = labels == "hard", prior
        first = optimizer_factory(relabel_optimizer, SGD, lr=0.1, momentum=0.9, weight_decay=1e-4)
        second = optimizer_factory(optimizer, SGD, lr=0.2, momentum=0.9, weight_decay=1e-4)
        self.add_stages(
            network,
            Stage("relabel", relabel_epochs, first, scheduler_factory(relabel_scheduler)),
            Stage("train", None, second, scheduler_factory(scheduler), fresh=True),
        )
        self.memory.add("label", num_classes)  # zero until it is replaced
        self.memory.add("recent", window, num_classes)  # predictions of the last epochs, epoch e at place e mod window
        self.matrices.add("prior", fill=1 / num_classes)
        self.matrices.allocate(num_classes)

    # ---- labels

    def begin_stage(self, stage: str) -> None:
        """Use the given prior."""
        if stage == "relabel" and self.prior is not None:
            self.matrices["prior"].copy_(torch.tensor(self.prior))

    def prepare_epoch(self, epoch: int) -> None:
        """Replace the labels by the mean of the last predictions, at the end of an epoch of the first stage."""
        super().prepare_epoch(epoch)
        if self.warmup_epochs <= epoch <= self.first_epoch(1):
            self._replace()
            self.log_epoch({"train/relabeled": float(self._relabeled())})

    def _replace(self) -> None:
        """Labels become the mean of what is remembered, those of rows that were in no batch the given ones."""
        recent, label, rows = self.memory["recent"], self.memory["label"], self.info.train_rows.to(self.device)
        known = recent.any(2).sum(1)  # predictions of each row: a place that was never written holds zeros
        label.copy_(recent.sum(1) / known.clamp(min=1)[:, None])
        unseen = rows[known[rows] == 0]
        label[unseen, self._given()[unseen]] = 1.0

    def _relabeled(self) -> Tensor:
        """Share of the training rows whose label of now is not the given one."""
        rows = self.info.train_rows.to(self.device)
        given = self.info.given_target.to(self.device)[rows]
        return (self.memory["label"][rows].argmax(1) != given).double().mean()

    def _labels(self, batch: PlanBatch) -> Tensor | None:
        """Labels (B, K) of now; None while they are the given ones."""
        if batch.epoch < self.warmup_epochs and batch.phase == "relabel":
            return None
        label = self.memory["label"][batch["train"].index]
        return torch.zeros_like(label).scatter_(1, label.argmax(1, keepdim=True), 1) if self.hard else label

    # ---- training

    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        """The loss of the stage; in the first one the predictions are kept."""
        samples, labels = batch["train"], self._labels(batch)
        fits = (
            cross_entropy(logits, samples.target, reduction="none")
            if labels is None
            else soft_cross_entropy(logits, labels, reduction="none")
        )
        loss = self.mean(fits)
        if stage == "train":
            return loss
        probs = F.softmax(logits.float(), 1)
        self.memory["recent"][samples.index, batch.epoch % self.window] = probs.detach()
        entropy = -self.mean(negative_entropy(logits, reduction="none"))
        return loss + self.alpha * prior_penalty(self.mean_rows(probs), self.matrices["prior"]) + self.beta * entropy

    # ---- what is looked at

    def corrected_target(self) -> Tensor | None:
        """(N,) int64 current labels, -1 in held-out rows; None while they are the given ones."""
        if not self._replaced():
            return None
        label = self.memory["label"]
        return label.argmax(1).masked_fill(~label.any(1), -1)

    def clean_mask(self) -> Tensor | None:
        """Samples whose current label is the given one; None while all are."""
        return self.memory["label"].argmax(1) == self._given() if self._replaced() else None

    def clean_prob(self) -> Tensor | None:
        """The fraction of each current label at the given class; None while labels are the given ones."""
        return self.memory["label"].gather(1, self._given().clamp(min=0)[:, None]).squeeze(1) if self._replaced() else None

    def _given(self) -> Tensor:
        return self.info.given_target.to(self.memory["label"].device)

    def _replaced(self) -> bool:
        return hasattr(self, "info") and "label" in self.memory and bool(self.memory["label"].any())
