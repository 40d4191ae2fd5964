"""Asymmetric co-training."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import Count, Finite, Fraction, FractionBelowOne, Limit, NonNegative
from noisylab.engine.optimizers import optimizer_factory
from noisylab.engine.step import step
from noisylab.losses import cross_entropy, negative_entropy
from noisylab.methods.base import NoisyLabelMethod
from noisylab.models.network import NetFactory
from noisylab.schedules import EpochValuesLR, act_plan, step_plan
from noisylab.selection.agreement import asymmetric_agreement
from noisylab.types import EpochPlan, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["ACT"]


class ACT(NoisyLabelMethod):
    """Trains a robust network on the samples on which it and a deliberately non-robust twin agree.

    The "standard" network learns all given labels, wrong ones included. The "robust" network learns only from selected samples:
    those that both predict as labeled or, where the standard network is hardly better than the robust one on the batch (the
    gate: then it has not yet memorized), all that the standard one predicts as labeled. A sample that was selected more often has
    a larger weight. On strongly augmented images the robust network follows pseudo-labels: the given label where selected, else
    the moving average of its own predictions.

    Objective after the warm-up, for epoch e, selected set S, times selected w_i, strong view s_i, pseudo-label t_i:
    ``L_robust = a * mean_{i in S} CE(z_i, y_i) * w_i / (e + 1) + (1 - a) * mean_i CE(f(s_i), t_i)`` with a = 0.8, and
    ``L_standard = mean_i CE(z'_i, y_i)``. In the warm-up both learn all labels, the robust one with a penalty on confidence.

    **Paper**: Sheng et al., Enhancing Robustness in Learning with Noisy Labels: An Asymmetric Co-Training Approach, ACM MM 2024.

    **Authors' code**: https://github.com/shtdusb/ACT

    **Differences** from that code: an empty selection contributes 0 (there NaN, which destroys the network); the label table is
    filled from the labels (there a pass over the loader); tables live on the training device; losses are computed in float32 also
    under 16-bit training, which uses a gradient scaler; unused parts (a second projection head, an averaged copy) are left out.
    There the second network's own learning rate ``lr1`` has no effect on CIFAR: that is ``lr_plan_standard="same"``; "own_cosine"
    is what the paper claims. Of their plans of the learning rate "cosineRestart" and "cosineNew" are left out; their Adam is
    ``optimizer: Adam``.

    **Compared**: steps with the same batches and draws give the authors' weights to 1e-13. The authors' loop, patched to run
    on a CPU, on digits with 40 % symmetric noise, `SmallCNN`, 60 epochs, three seeds, mean of the last ten epochs: 98.48 ±
    0.35; here 98.51 ± 0.15. How both were made: docs/authors_code.md.

    Args:
        num_classes: K.
        network: factory of both networks.
        variant: "cifar" or "web": which samples the gate admits (web: those that either network predicts as labeled; without the
            gate, those that the robust one does).
        warmup_epochs: W, epochs of plain training.
        warmup_lr: learning rate of the warm-up; None for the optimizer's rate.
        lr_plan: ``cosine:START,END_LR,STOP``, epochs, or another plan of `noisylab.schedules.act_plan`.
        lr_plan_standard: rate of the standard network: "same" as the robust one's (authors' code on CIFAR), "own_cosine" from
            `lr_standard`, or "baseline": `lr_standard` times 0.1 at epochs 60, 120 and 150 (authors' code on web data).
        lr_standard: see `lr_plan_standard`.
        gate_threshold: the gate is open while the standard network's batch accuracy on given labels exceeds the robust one's by
            less than this fraction of it.
        label_momentum: share of the old value in the moving average of predictions, in [0, 1).
        supervised_weight: a, in [0, 1].
        label_smoothing: label smoothing of every cross-entropy, in [0, 1); 0.35 on web data.
        mining: use the gate, which admits more samples while it is open.
        reweight: weight samples by how often they have been selected.
        consistency: learn pseudo-labels on the strong view. Without it, the other term keeps its weight a.
        clip_norm: largest gradient norm of each network; None for no limit.
        optimizer: factory of both optimizers, whose rates the plan sets; SGD with Nesterov momentum 0.9, rate 0.01 and weight
            decay 5e-4 if None.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> list(ACT(num_classes=3, network=partial(MLP, in_features=4)).networks)
        ['robust', 'standard']
    """

    views = ("weak", "strong")
    recordable = True

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        variant: Literal["cifar", "web"] = "cifar",
        warmup_epochs: Count = 50,
        warmup_lr: NonNegative | None = None,
        lr_plan: str = "cosine:20,5e-4,100",
        lr_plan_standard: Literal["same", "own_cosine", "baseline"] = "same",
        lr_standard: NonNegative = 0.08,
        gate_threshold: Finite = 0.025,
        label_momentum: FractionBelowOne = 0.8,
        supervised_weight: Fraction = 0.8,
        label_smoothing: FractionBelowOne = 0.0,
        mining: bool = True,
        reweight: bool = True,
        consistency: bool = True,
        clip_norm: Limit = None,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.variant, self.warmup_epochs, self.warmup_lr = variant, warmup_epochs, warmup_lr
        self.lr_plan, self.lr_plan_standard, self.lr_standard = lr_plan, lr_plan_standard, lr_standard
        self.gate_threshold, self.label_momentum = gate_threshold, label_momentum
        self.supervised_weight = supervised_weight
        self.label_smoothing, self.clip_norm = label_smoothing, clip_norm
        self.mining, self.reweight, self.consistency = mining, reweight, consistency
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
        # look at the plan now, not when the optimizers are made; a rate that is not given is the optimizer's default
        act_plan(float(self.optimizer.init_args.get("lr", float("inf"))), 0, warmup_epochs, 0.0, lr_plan)
        self.add_networks(network, "robust", "standard")
        self.memory.add("times_selected", dtype=torch.int32)
        self.memory.add("selected_epoch", dtype=torch.int32, fill=-1)
        self.memory.add("label_table", num_classes)

    def prepare_epoch(self, epoch: int) -> None:
        """Start the moving average of predictions at the given labels."""
        if epoch == 0:
            assert self.info is not None
            rows = self.info.train_rows.to(self.device)
            self.memory["label_table"][rows, self.info.given_target.to(self.device)[rows]] = 1

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All rows once; the strong view only where it is used."""
        views = self.views if self.consistency and epoch >= self.warmup_epochs else self.views[:1]
        return EpochPlan((Phase(streams={"train": Stream(views=views)}),))

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, smoothing=self.label_smoothing, reduction="none")

    def training_step(self, batch: PlanBatch, batch_idx: int) -> None:
        """One step of each network."""
        samples = batch["train"]
        y, index = samples.target, samples.index
        z0, z1 = self.networks["robust"](samples.views[0]), self.networks["standard"](samples.views[0])
        self.observe(index, z0, y, z1)
        standard_loss = self.mean(self._cross_entropy(z1, y))
        if batch.epoch < self.warmup_epochs:
            self.memory.accumulate("times_selected", index, 1)
            penalty = negative_entropy(z0, clamp_logits=True, reduction="none")
            robust_loss = self.mean(self._cross_entropy(z0, y) + penalty)
        else:
            robust_loss = self._robust_loss(batch, z0, z1)
        step(self, {"robust": robust_loss, "standard": standard_loss}, clip_norm=self.clip_norm)
        self.means.add("train/loss", robust_loss, batch.weight_of("train"))
        self.means.add("train/loss_standard", standard_loss, batch.weight_of("train"))

    def _robust_loss(self, batch: PlanBatch, z0: Tensor, z1: Tensor) -> Tensor:
        samples = batch["train"]
        y, index = samples.target, samples.index
        clean = asymmetric_agreement(
            z0.argmax(1),
            z1.argmax(1),
            y,
            threshold=self.gate_threshold,
            variant=self.variant,
            mining=self.mining,
            sum_over_ranks=self.sum_over_ranks,
        )
        self.memory.accumulate("times_selected", index, clean)
        table = self.memory["selected_epoch"]
        table[index] = table[index].masked_fill(clean, batch.epoch)
        labels = torch.lerp(F.softmax(z0.detach().float(), 1), self.memory["label_table"][index], self.label_momentum)
        weight = self.memory["times_selected"][index].float() / (batch.epoch + 1) if self.reweight else torch.ones_like(y)
        loss = self.supervised_weight * self.mean(self._cross_entropy(z0, y) * weight, clean)
        if self.consistency:
            pseudo = torch.where(clean, y, labels.argmax(1))
            strong = self._cross_entropy(self.networks["robust"](samples.views[1]), pseudo)
            loss = loss + (1 - self.supervised_weight) * self.mean(strong)
        self.memory.write("label_table", index, labels)
        self.means.add("train/selected", clean.float().mean(), len(samples))
        return loss

    def clean_mask(self) -> Tensor | None:
        """Samples selected in the current epoch; nothing is selected in the warm-up."""
        return self.memory["selected_epoch"] == self.current_epoch if self.current_epoch >= self.warmup_epochs else None

    def clean_prob(self) -> Tensor | None:
        """Share of the epochs so far in which a sample was selected (warm-up epochs count as selected)."""
        if self.current_epoch < self.warmup_epochs:
            return None
        # not by the current epoch, which is one past the last when training has ended
        return self.memory["times_selected"] / (self.memory["observed_epoch"] + 1).clamp(min=1)

    def configure_optimizers(self) -> Any:
        """Two optimizers with the authors' learning-rate plan."""
        optimizers = [self.optimizer(network.parameters()) for network in self.networks.values()]
        lr, total = float(optimizers[0].param_groups[0]["lr"]), self.trainer.max_epochs or 0
        warmup_lr = lr if self.warmup_lr is None else self.warmup_lr
        robust = act_plan(lr, total, self.warmup_epochs, warmup_lr, self.lr_plan)
        standard = {
            "same": lambda: robust,
            "own_cosine": lambda: act_plan(self.lr_standard, total, self.warmup_epochs, self.lr_standard, self.lr_plan),
            "baseline": lambda: step_plan(self.lr_standard, max(total, 151)),  # past its last step, also without max_epochs
        }[self.lr_plan_standard]()
        return optimizers, [EpochValuesLR(o, v) for o, v in zip(optimizers, (robust, standard), strict=True)]
