"""Transition revision."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from noisylab.arguments import Limit
from noisylab.engine.optimizers import optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy, given_log_probs, importance_weights, reweighted_loss
from noisylab.methods.staged import (
    ESTIMATORS,
    NoiseFactory,
    Stage,
    StagedMethod,
    check_estimator,
    known_transition,
    noise_factory,
)
from noisylab.metrics import transition_error
from noisylab.models.network import NetFactory
from noisylab.types import LRSchedulerFactory, OptimizerFactory, PlanBatch

__all__ = ["TRevision"]


class TRevision(StagedMethod):
    """Estimates the transition matrix, trains with weighted samples, then revises the matrix together with the network.

    With ``T[i, j] = P(given = j | true = i)``, p the network's probabilities of the true classes and ``q = p T`` those of the
    given labels, a sample of given label y counts ``beta = p[y] / q[y]``: the ratio of the probabilities that y is the true label
    and that it is the given label, which turns the mean over the given labels into one over the true ones.

    Objective, ``L = mean_n beta_n CE(z_n, y_n)``, in three stages:

    - estimate: beta is 1. T is then read from the predictions on the training rows, see `Forward`;
    - reweight: beta of T, without gradient;
    - revise: beta of T + S with a slack matrix S, 0 at first and learned with the network; the gradient passes through beta to
      both. An entry of S moves by at most the rate in a step: the revision corrects a matrix, it does not repair a wrong row.

    Every stage goes on with the best network of the one before by validation, on given labels by ``argmax p`` in the first,
    ``argmax p T`` in the second and ``argmax p (T + S)`` in the third; the true labels are predicted by ``argmax p``.

    A class that is rare under q leads to huge weights: ``train/largest_weight`` is the mean over the batches of their largest
    beta.

    With `sweep_every` the matrix is estimated after each so many epochs of the first stage, and only these epochs can be chosen.
    An early network estimates better than one that has begun to memorize, so what chooses matters: `select_by`.

    **Paper**: Xia, Liu, Wang, Han, Gong, Niu and Sugiyama, Are Anchor Points Really Indispensable in Label-Noise Learning?,
    NeurIPS 2019.

    **Authors' code**: https://github.com/xiaoboxia/T-Revision

    **Differences** from that code: the filter of outliers leaves the predictions as they are (there what it leaves out for one
    class is 0 for the next ones); rows are divided by their own sums (there by those of the columns' places); every sample
    uses T + S once (there sample n of a batch uses T + (n + 1) S, `reference_cumulative` does so); T is read from predictions
    without augmentation of the best network alone (there of training views, kept for all epochs); q is at least 1e-12. The
    matrix that is reported is clipped at 0 and its rows divided by their sums; the one in use is not, unless `project` is set.

    Args:
        num_classes: K.
        network: factory of the network.
        transition: "anchor" (CIFAR-100), "anchor97" (MNIST, CIFAR-10), "dual", "dual97", or a file with the matrix.
        oracle: the noise that was injected; knowing it is cheating, so it is used by ``select_by="oracle"`` alone.
        estimate_epochs: epochs of the first stage; 15 on CIFAR-100. 0 for a run that starts from a trained network
            (``--init_from``).
        reweight_epochs: epochs of the second stage, at least 1; 200 on CIFAR. The third stage lasts until the end of the run.
        sweep_every: estimate the matrix every so many epochs of the first stage, and choose among these epochs only; None to
            choose among all epochs and estimate once, at the end.
        select_by: what chooses the network that estimates: "val_acc" (authors' code) or "val_loss", on held-out rows, or
            "oracle", the true error of its estimate; the last needs `oracle` and `sweep_every`.
        project: use T + S clipped at 0, rows divided by their sums, in the loss, too.
        max_weight: limit of beta; None for no limit.
        reference_cumulative: add S to T once for each sample before in the batch, as the authors' code does.
        estimate_optimizer: factory; SGD with rate 0.01 and weight decay 1e-4 if None.
        estimate_scheduler: factory of a schedule; a constant rate if None.
        reweight_optimizer: factory; SGD with rate 0.01, momentum 0.9 and weight decay 1e-4 if None.
        reweight_scheduler: the authors divide the rate by 10 after 39 and after 79 epochs of this stage under PyTorch 1.1 and
            later, after 40 and 80 under 0.4.1, the oldest that they name; constant if None.
        revise_optimizer: of the network and the slack; Adam with rate 5e-7 and weight decay 1e-4 if None.
        revise_scheduler: factory of a schedule; a constant rate if None.
        **staged: see `noisylab.methods.staged.StagedMethod`.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> TRevision(num_classes=3, network=partial(MLP, in_features=4)).optimizer_names
        ('estimate', 'reweight', 'revise')
    """

    may_skip_first = True

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        transition: str = "anchor97",
        oracle: NoiseFactory | None = None,
        estimate_epochs: int = 20,
        reweight_epochs: int = 100,
        sweep_every: int | None = None,
        select_by: Literal["val_acc", "val_loss", "oracle"] = "val_acc",
        project: bool = False,
        max_weight: Limit = None,
        reference_cumulative: bool = False,
        estimate_optimizer: OptimizerFactory | None = None,
        estimate_scheduler: LRSchedulerFactory | None = None,
        reweight_optimizer: OptimizerFactory | None = None,
        reweight_scheduler: LRSchedulerFactory | None = None,
        revise_optimizer: OptimizerFactory | None = None,
        revise_scheduler: LRSchedulerFactory | None = None,
        **staged: Any,
    ) -> None:
        super().__init__(num_classes, select_by="val_acc", **staged)
        check_estimator(transition)
        if (select_by == "oracle") != (oracle is not None) or (select_by == "oracle" and sweep_every is None):
            raise ValueError(
                f"select_by='oracle' compares estimates with the true matrix: it goes with oracle and sweep_every; got "
                f"select_by={select_by!r}, oracle={oracle!r}, sweep_every={sweep_every}"
            )
        if select_by != "val_acc" and self.hand_over == "last":
            raise ValueError(f"select_by={select_by!r} chooses among epochs and hand_over='last' takes the last; leave one out")
        if reference_cumulative and project:
            raise ValueError(
                "reference_cumulative=True uses another matrix for each sample, which project=True cannot; leave one out"
            )
        if sweep_every is not None and not 1 <= sweep_every <= estimate_epochs:
            raise ValueError(f"sweep_every must be in 1..{estimate_epochs}, the length of the stage, or None, got {sweep_every}")
        if sweep_every is not None and (self.hand_over == "last" or transition not in ESTIMATORS):
            raise ValueError(
                f"sweep_every={sweep_every} chooses among estimates; it needs hand_over='best' and an estimator as transition, "
                f"got hand_over={self.hand_over!r} and transition={transition!r}"
            )
        self.transition, self.oracle = transition, noise_factory(oracle)
        self.sweep_every, self.select_by = sweep_every, select_by
        self.project, self.max_weight, self.reference_cumulative = project, max_weight, reference_cumulative
        estimate = optimizer_factory(estimate_optimizer, SGD, lr=0.01, weight_decay=1e-4)
        reweight = optimizer_factory(reweight_optimizer, SGD, lr=0.01, momentum=0.9, weight_decay=1e-4)
        revise = optimizer_factory(revise_optimizer, Adam, lr=5e-7, weight_decay=1e-4)
        self.slack = nn.Parameter(torch.zeros(num_classes, num_classes))
        self.add_stages(
            network,
            Stage("estimate", estimate_epochs, estimate, scheduler_factory(estimate_scheduler)),
            Stage("reweight", reweight_epochs, reweight, scheduler_factory(reweight_scheduler)),
            Stage("revise", None, revise, scheduler_factory(revise_scheduler)),
        )

    # ---- stages

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """The network's parameters and, in the last stage, the slack."""
        return [*super().stage_parameters(stage), *([self.slack] if stage == "revise" else [])]

    def begin_stage(self, stage: str) -> None:
        """Estimate the matrix or use the given one; start with a slack of 0."""
        if stage == "estimate":
            with torch.no_grad():
                self.slack.zero_()
        elif stage == "reweight":
            self.find_transition()

    def on_train_batch_end(self, outputs: object, batch: PlanBatch, batch_idx: int) -> None:
        """Estimate the matrix after each epoch that can be selected."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.trainer.is_last_batch and self.sweep_every is not None and batch.phase == "estimate" and self._swept(batch.epoch):
            self.find_transition()

    def _swept(self, epoch: int) -> bool:
        return self.sweep_every is not None and (epoch + 1) % self.sweep_every == 0

    def score_epoch(self, epoch: int) -> float | None:
        """By `select_by` in the first stage, by validation accuracy in the second."""
        if self.stage_number(epoch) > 0 or self.select_by == "val_acc":
            swept = self.stage_number(epoch) > 0 or self.sweep_every is None or self._swept(epoch)
            return self.epoch_metrics.get("val/acc") if swept else None
        if self.sweep_every is not None and not self._swept(epoch):
            return None
        if self.select_by == "val_loss":
            loss = self.epoch_metrics.get("val/loss")
            return None if loss is None else -loss
        truth = known_transition(self.transition, self.oracle, self.info)
        assert truth is not None
        return -transition_error(self.matrices["transition"], truth)

    # ---- training

    def loss(self, stage: str, batch: PlanBatch, logits: Tensor) -> Tensor:
        """Cross-entropy; weighted; weighted by the revised matrix."""
        target = batch["train"].target
        if stage == "estimate":
            return self.mean(cross_entropy(logits, target, reduction="none"))
        transition = self.matrices["transition"]
        if stage == "revise":
            transition = self._revised()
            if self.reference_cumulative:
                places = self.global_rank + 1 + self.trainer.world_size * torch.arange(len(target), device=logits.device)
                transition = self.matrices["transition"] + places[:, None, None] * self.slack.float()
        fixed = stage == "reweight"
        with torch.no_grad():
            largest = F.pad(importance_weights(logits, target, transition), (0, 1)).amax()  # a rank may have no sample
            largest = self.gather(largest).amax() if self.trainer.world_size > 1 else largest
        self.means.add("train/largest_weight", largest, batch.weight_of("train"))
        losses = reweighted_loss(logits, target, transition, detach_weights=fixed, max_weight=self.max_weight, reduction="none")
        return self.mean(losses)

    def _revised(self) -> Tensor:
        matrix = self.matrices["transition"] + self.slack.float()
        return _projected(matrix) if self.project else matrix

    def given_logits(self, logits: Tensor) -> Tensor:
        """Log-probabilities (B, K) of the given labels, by the matrix of the stage."""
        if self.stage == "estimate":
            return logits
        return given_log_probs(logits, self._revised() if self.stage == "revise" else self.matrices["transition"])

    def transition_matrix(self) -> Tensor | None:
        """The matrix in use, clipped at 0 and with rows that sum to 1; None before the first estimate."""
        matrix = super().transition_matrix()
        return None if matrix is None else _projected(matrix + self.slack.detach().float())


def _projected(matrix: Tensor) -> Tensor:
    positive = matrix.clamp(min=0)
    return positive / positive.sum(1, keepdim=True)
