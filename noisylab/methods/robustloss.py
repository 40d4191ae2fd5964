"""One network, any robust loss."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import Count
from noisylab.best_network import BestNetwork
from noisylab.engine.modes import in_mode
from noisylab.engine.optimizers import one_for_all, optimizer_factory, scheduler_factory
from noisylab.losses import GCE, Criterion, LossFactory, cross_entropy
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory
from noisylab.specs import as_factory
from noisylab.types import EpochPlan, EvalBatch, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["RobustLoss"]


class RobustLoss(NoisyLabelMethod):
    """Trains one network in the same way as cross-entropy, but with a loss that wrong labels harm less.

    Objective: ``L = mean_i l(z_i, y_i)`` for the given labels y, with z the logits and p their softmax. `loss` names l; these
    are packaged (`noisylab.losses`), each with the paper that it is of:

    - ``MAE``: ``2 (1 - p_y)``, or half of it.
    - ``GCE``: ``(1 - p_y^q) / q`` (Zhang and Sabuncu, 2018).
    - ``TruncatedGCE``: ``w_i [(1 - p_y^q) / q - (1 - k^q) / q]``, all w_i = 1 at first; before epochs 40, 50, ... ``w_i = 1``
      where ``p_y > k``, else 0, by the network in evaluation mode without augmentation (the same paper).
    - ``RCE``: ``9.210340 (1 - p_y)``; ``SCE``: ``alpha CE + beta RCE`` (Wang et al., 2019).
    - ``ActivePassive``: ``alpha l(z, y) / sum_c l(z, c) + beta m(z, y)`` with l the cross-entropy, the focal loss or GCE and m
      RCE or ``1 - p_y``: NCE+RCE, NFL+MAE and so on (Ma et al., 2020).
    - ``Focal``: ``-(1 - p_y)^gamma log p_y``.
    - ``GLS``: ``(1 - r) CE + r mean_c(-log p_c)``, r = -0.2: negative label smoothing (Wei et al., 2022).
    - ``Bootstrap``: ``-b log p_y - (1 - b) log max_c p_c``, or softly ``- (1 - b) sum_c p_c log p_c`` (Reed et al., 2015).
    - ``PeerLoss``: ``CE'(z, y) - a_e CE'(z_r, y_s)``, ``CE' = -log(p_y + 1e-5)``, with the input of one sample and the label of
      another, both drawn at random (Liu and Guo, 2020). a_e rises from 0 in the first 20 epochs e to 20 in epoch 339.
    - ``CORES2``: ``CE - b_e sum_c prior_c (-log(p_c + 1e-8))`` (Cheng et al., 2021). b_e rises from 0 to 2 in epochs 10 to 39.
      From epoch 31 on the mean is that over the samples with ``CE <= mean_c(-log(p_c + 1e-8))``. The prior is the share of the
      given labels among the samples that the epoch before kept.
    - ``FDivergence``: ``-g(p_y) + f*(g(p_s))``, p_s of an input and a label drawn independently (Wei and Liu, ICLR 2021).

    GLS, TruncatedGCE, PeerLoss, CORES2 and FDivergence may be negative, GLS with a negative rate without bound: their
    ``train/loss`` does not show how well the given labels are fitted.

    CORES2 rewards sure predictions ever more, and a network that grows sure of one class for all inputs is stuck: only samples
    with that label are kept, and their loss is 0. With the authors' rates `LeNet` did so on 10,000 images of MNIST (40 %
    symmetric noise) in epochs 43 to 46, with their formula written out as with this class; watch ``train/selected``, and lower
    the rate.

    In the first `warmup_epochs` the loss is the cross-entropy, whatever `loss` is. Epochs are counted from 0 over the whole run,
    warm-up included.

    ``clean_mask`` are the samples kept (TruncatedGCE, CORES2), once some may be left out. A batch of which none is kept
    contributes 0.

    **Paper**: see the list.

    **Authors' code**: https://github.com/HanxunH/Active-Passive-Losses for ActivePassive, also for GCE, SCE, RCE, MAE and the
    focal loss, which it compares with; https://github.com/haochenglouis/cores for CORES2. Schedules of the others, the levels of
    truncated GCE and GLS, and warm-ups of 2 epochs for GLS and FDivergence are those of the benchmark
    https://github.com/KlemenVovk/noisy-labels. The defaults of ActivePassive are the authors' values for CIFAR-10.

    **Differences** from the authors of ActivePassive: gradients pass through the factor ``(1 - p)^gamma`` of the focal loss, also
    where it is normalized, as its formula has it (there the factor is a constant, which ``detach_factor=True`` does too); MAE is
    ``2 (1 - p_y)`` unless its form is "reduced" (there always).

    From those of CORES2: only the first of their two phases, without consistency training on what was dropped. The sieve keeps
    samples of equal logits, which rounding decides there; a batch of which it keeps none has loss 0 (there the run ends with an
    error). The prior is in the checkpoint, and is that of all samples if none was kept.

    From the benchmark: the best network is taken only with ``hand_over="best"``, which needs held-out rows (there always); of
    f-divergences the best epoch is that of the largest validation accuracy (there of the smallest loss), and the warm-up is
    plain cross-entropy (there -log(p + 1e-5)). Truncated GCE chooses without augmentation (there with). Inputs and labels of
    pairs are two shuffles of their own, drawn only in epochs with a_e > 0. GCE is computed from log p, so that its gradient is
    finite. Optimizer and schedule go on through the end of the warm-up, but for the momentum where the best network is taken.

    Args:
        num_classes: K.
        network: factory of the network.
        loss: factory of the criterion: a class of the list, a partial of one, or a class of your own derived from
            `noisylab.losses.Criterion`; generalized cross-entropy if left out.
        warmup_epochs: epochs of cross-entropy, 0 or more.
        hand_over: which network the warm-up hands over and truncated GCE chooses by: the "last", or that of the "best" epoch so
            far by validation accuracy, of the warm-up or, once that has ended, of what came after it.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.
            `noisylab.schedules.DividedStepLR` is that of peer loss and CORES2.

    Example:
        >>> from noisylab.losses import GCE
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> method = RobustLoss(num_classes=3, network=partial(MLP, in_features=4), loss=partial(GCE, q=0.5))
        >>> method.criterion.q
        0.5
    """

    prior_counts: Tensor
    recordable = True  # weights of an epoch are numbers on the host, the same in all of its batches

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        loss: LossFactory = GCE,
        warmup_epochs: Count = 0,
        hand_over: Literal["last", "best"] = "last",
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.criterion = as_factory(loss, Criterion, "loss")()  # type: ignore[type-abstract]
        if hand_over == "best" and warmup_epochs == 0 and self.criterion.selection != "scoring":
            raise ValueError(
                f"hand_over='best' has nothing to hand over: without a warm-up {type(self.criterion).__name__} trains one "
                "network from beginning to end; give warmup_epochs, or leave hand_over at 'last'"
            )
        self.warmup_epochs, self.hand_over = warmup_epochs, hand_over
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, "network")
        self.best = BestNetwork(self.networks["network"]) if hand_over == "best" else None
        if self.criterion.selection != "none":
            self.memory.add("kept", dtype=torch.int8)
        if self.criterion.uses_prior:
            # whole numbers: no change of precision rounds them
            self.register_buffer("prior_counts", torch.zeros(num_classes, dtype=torch.int64))

    # ---- between epochs

    @property
    def needs_validation(self) -> bool:
        """True if the best network is handed over."""
        return self.hand_over == "best"

    def best_since(self, epoch: int) -> int:
        """Epochs of the warm-up compete with one another, and so do those after it."""
        return self.warmup_epochs if epoch >= self.warmup_epochs else 0

    def prepare_epoch(self, epoch: int) -> None:
        """Keep the previous epoch's network if it is the best, count the labels that it kept, select samples when due.

        Raises:
            ValueError: if the best network is wanted and no epoch was validated.
        """
        rows = self.info.train_rows.to(self.device)
        if epoch == 0 and self.criterion.selection != "none":
            self.memory.write("kept", rows, torch.ones_like(rows))
        if self.best is not None:
            self._keep_best(self.best, epoch)
        if self.criterion.uses_prior:
            self._count_labels(rows)
        if self.criterion.selection == "sieve" and not self.criterion.sieves_in(epoch):
            self.memory.write("kept", rows, torch.ones_like(rows))  # of a sieve that has ended
        if self.criterion.selection == "scoring" and epoch >= self.warmup_epochs and self.criterion.scores_before(epoch):
            tables, _ = self.score(self._keeps)
            self.memory.write("kept", rows, tables["kept"][rows])

    def _keep_best(self, best: BestNetwork, epoch: int) -> None:
        if epoch == 0:
            best.reset()
            return
        accuracy = self.epoch_metrics.get("val/acc")
        if accuracy is not None:
            best.offer(self.networks["network"], accuracy, epoch - 1)
        wanted = epoch == self.warmup_epochs or (epoch > self.warmup_epochs and self.criterion.scores_before(epoch))
        if wanted and best.epoch < 0:
            raise ValueError(
                f"hand_over='best' needs a validated network before epoch {epoch}, and there is none; validate more often "
                "(trainer.check_val_every_n_epoch), or set hand_over to 'last'"
            )

    def _count_labels(self, rows: Tensor) -> None:
        """Count the given labels of the samples that are kept; of all if none is."""
        given, kept = self.info.given_target.to(rows.device)[rows], rows
        if self.criterion.selection != "none":
            kept = self.memory["kept"][rows] > 0
            given = given[kept] if bool(kept.any()) else given
        self.prior_counts.copy_(torch.bincount(given, minlength=self.num_classes))

    def _keeps(self, batch: EvalBatch) -> dict[str, Tensor]:
        if self.best is None:
            return {"kept": self.criterion.keeps(self(batch.inputs), batch.target)}
        with in_mode(self.best, training=False):
            return {"kept": self.criterion.keeps(self.best.network(batch.inputs), batch.target)}

    def on_train_epoch_start(self) -> None:
        """Continue with the best network of the warm-up."""
        super().on_train_epoch_start()
        # a best epoch is known until its network is handed over: in an epoch that is resumed there is none
        if self.best is not None and self.best.epoch >= 0 and self.current_epoch == self.warmup_epochs > 0:
            self.best.restore(self.networks["network"])
            self.best.reset()
            self.wrapped_optimizers()["network"].optimizer.state.clear()  # momentum of other weights

    # ---- the step

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All rows once and, if the loss needs pairs, inputs in one separate order and labels in another."""
        streams = {"train": Stream(views=self.views)}
        if epoch >= self.warmup_epochs and self.criterion.pairs_in(epoch):
            streams["pair_inputs"] = Stream(views=self.views, endless=True)
            # only the labels are used, but a stream must name a view: the one that costs least
            streams["pair_labels"] = Stream(views=("eval",), endless=True)
        return EpochPlan((Phase(streams=streams),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        """One batch: cross-entropy in the warm-up, then the criterion with all its parts."""
        samples = batch["train"]
        logits = self(samples.views[0])
        self.observe(samples.index, logits, samples.target)
        if batch.epoch < self.warmup_epochs:
            loss = self.mean(cross_entropy(logits, samples.target, reduction="none"))
        else:
            loss = self._robust_loss(batch, logits)
        self.means.add("train/loss", loss, batch.weight_of("train"))
        return loss

    def _robust_loss(self, batch: PlanBatch, logits: Tensor) -> Tensor:
        samples, criterion = batch["train"], self.criterion
        losses = criterion(logits, samples.target)
        if criterion.uses_prior:
            counts = self.prior_counts.to(losses.dtype)
            losses = losses + criterion.of_prior(logits, counts / counts.sum(), batch.epoch)
        loss = self._mean_of_kept(batch, logits, losses)
        if criterion.pairs_in(batch.epoch):
            pair_logits = self(batch["pair_inputs"].views[0])
            loss = loss + self.mean(criterion.of_pairs(pair_logits, batch["pair_labels"].target, batch.epoch))
        return loss

    def _mean_of_kept(self, batch: PlanBatch, logits: Tensor, losses: Tensor) -> Tensor:
        samples = batch["train"]
        if self.criterion.selection == "none":
            return self.mean(losses)
        if self.criterion.selection == "sieve" and self.criterion.sieves_in(batch.epoch):
            kept = self.criterion.keeps(logits.detach(), samples.target)
            self.memory.write("kept", samples.index, kept)
            loss = self.mean(losses, kept)
        else:
            kept = self.memory["kept"][samples.index] > 0
            loss = self.mean(torch.where(kept, losses, torch.zeros_like(losses)))
        self.means.add("train/selected", self.mean(kept.to(losses.dtype)), batch.weight_of("train"))
        return loss

    def clean_mask(self) -> Tensor | None:
        """Samples kept in the current epoch; None as long as all are."""
        return self.memory["kept"] > 0 if self._selects_in(self.current_epoch) else None

    def _selects_in(self, epoch: int) -> bool:
        if self.criterion.selection == "scoring":
            return any(self.criterion.scores_before(e) for e in range(self.warmup_epochs, epoch + 1))
        return self.criterion.selection == "sieve" and epoch >= self.warmup_epochs and self.criterion.sieves_in(epoch)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return one_for_all(self.networks.parameters(), self.optimizer, self.scheduler)
