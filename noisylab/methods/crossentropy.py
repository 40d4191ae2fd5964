"""Plain cross-entropy: the control for every other method."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import FractionBelowOne, NonNegative
from noisylab.engine.optimizers import one_for_all, optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy, jensen_shannon, smoothed, soft_cross_entropy, soft_hgr
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.softlabels import soft_target
from noisylab.models.fusion import FusionNet
from noisylab.models.network import NetFactory
from noisylab.transforms.mixing import cutmix, mixup
from noisylab.types import EpochPlan, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream, join_inputs

__all__ = ["CrossEntropy"]


class CrossEntropy(NoisyLabelMethod):
    """Trains one network on the given labels, right or wrong.

    Every other method is compared with this one. It first learns what the right labels have in common and then memorizes the
    wrong ones: its test accuracy peaks early and falls, so look at the best epoch and at the last ones.

    Objective: ``L = mean_i -log p_i[y_i]``, with y_i the given label of sample i and p_i the network's probabilities. With mixup,
    inputs ``x' = lam x_i + (1 - lam) x_j`` and ``L = lam CE(x', y_i) + (1 - lam) CE(x', y_j)``, lam from Beta(alpha, alpha), one
    draw and one pairing a batch; CutMix pastes a box instead. With `jsd_weight` w, ``L + w JSD(p(weak), p(strong), p(strong'))``:
    the network is also trained to predict the same for a weak and two strong views of a sample, as AugMix trains with w = 12 and
    the strong view `AugMix`. With `fusion_h` w and a `FusionNet`, ``L - w H``, H the Soft-HGR of the embeddings of its views over
    the batch (`noisylab.losses.soft_hgr`; of more than two views, the mean over the pairs): the embeddings are also trained to
    have much in common. Other methods have no such term.

    Where the data has soft labels (`FromAnnotators`), the cross-entropy is to these: ``-sum_c t_ic log p_ic``.

    **Paper**: mixup, Zhang et al., ICLR 2018; label smoothing, Szegedy et al., CVPR 2016; CutMix, Yun et al., ICCV 2019; AugMix,
    Hendrycks et al., ICLR 2020; Soft-HGR, Wang et al., AAAI 2019.

    **Authors' code**: none; the defaults are those of the benchmark of KlemenVovk/noisy-labels (SGD, 0.1 at epoch 60).

    **Differences**: with mixup or CutMix no unmixed input is seen in training, so nothing is observed online. The three views of
    `jsd_weight` are cropped and mirrored each anew; the authors of AugMix take one crop for all three.

    Args:
        num_classes: K.
        network: factory of the network.
        label_smoothing: fraction in [0, 1).
        smoothing: "torch" spreads the fraction over all classes, "others" over the other classes.
        mixup_alpha: alpha of mixup's Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: the same for CutMix; at most one of the two may be positive.
        jsd_weight: weight w of the divergence between the three views, 0 for none; not together with mixup or CutMix.
        fusion_h: weight w of the Soft-HGR of the views of a `FusionNet`, computed by each process over its own rows; 0 for none.
            Not together with mixup, CutMix or `jsd_weight`.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 and weight decay 5e-4 if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> CrossEntropy(num_classes=3, network=partial(MLP, in_features=4)).headline
        'network'
    """

    mixes_by: ClassVar[tuple[str, ...]] = ("mixup_alpha", "cutmix_alpha")

    recordable = True  # mixing is noticed, since it draws on the host
    uses_soft = True

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        label_smoothing: FractionBelowOne = 0.0,
        smoothing: Literal["torch", "others"] = "torch",
        mixup_alpha: NonNegative = 0.0,
        cutmix_alpha: NonNegative = 0.0,
        jsd_weight: NonNegative = 0.0,
        fusion_h: NonNegative = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        if mixup_alpha > 0 and cutmix_alpha > 0:
            raise ValueError(f"mixup_alpha={mixup_alpha} and cutmix_alpha={cutmix_alpha}: choose one, set the other to 0")
        if jsd_weight > 0 and (mixup_alpha > 0 or cutmix_alpha > 0):
            raise ValueError(
                f"jsd_weight={jsd_weight} compares views that are not mixed; set mixup_alpha={mixup_alpha} and "
                f"cutmix_alpha={cutmix_alpha} to 0, or jsd_weight"
            )
        if fusion_h > 0 and max(mixup_alpha, cutmix_alpha, jsd_weight) > 0:
            raise ValueError(
                f"fusion_h={fusion_h} takes samples as they are, in one view; set mixup_alpha={mixup_alpha}, "
                f"cutmix_alpha={cutmix_alpha} and jsd_weight={jsd_weight} to 0, or fusion_h"
            )
        self.label_smoothing, self.smoothing, self.jsd_weight = label_smoothing, smoothing, jsd_weight
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, "network")
        self.fusion_h = fusion_h
        if fusion_h > 0:
            net = self.networks["network"]
            if not isinstance(net, FusionNet) or len(net.view_names) < 2:
                raise ValueError(
                    f"fusion_h={fusion_h} compares the embeddings of the views of a FusionNet, got {type(net).__name__}"
                    f"{' of one view' * isinstance(net, FusionNet)}; choose a FusionNet of several views, or set fusion_h to 0"
                )

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Of given labels (B,), or of soft ones (B, K)."""
        share, convention = self.label_smoothing, self.smoothing
        if target.ndim == 1:
            return self.mean(cross_entropy(logits, target, smoothing=share, convention=convention, reduction="none"))
        exact = target.to(torch.promote_types(logits.dtype, target.dtype))
        return self.mean(soft_cross_entropy(logits, smoothed(exact, share, convention), reduction="none"))

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once, in one view, or in the three that are compared."""
        views = ("weak", "strong", "strong") if self.jsd_weight > 0 else self.views
        return EpochPlan((Phase(streams={"train": Stream(views=views)}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        """One batch: cross-entropy to the given labels, mixed or compared with other views if asked."""
        samples = batch["train"]
        inputs = samples.views[0]
        soft = soft_target(self, samples)
        target = samples.target if soft is None else soft
        if self.jsd_weight > 0:
            logits, *others = self(join_inputs(samples.views)).chunk(3)
            self.observe(samples.index, logits, samples.target)
            divergence = self.mean(jensen_shannon(logits, *others, reduction="none"))
            loss = self._loss(logits, target) + self.jsd_weight * divergence
        elif self.mixup_alpha > 0 or self.cutmix_alpha > 0:
            assert isinstance(inputs, Tensor)
            mix, alpha = (mixup, self.mixup_alpha) if self.mixup_alpha > 0 else (cutmix, self.cutmix_alpha)
            mixed, order, lam = mix(inputs, alpha)
            logits = self(mixed)
            loss = lam * self._loss(logits, target) + (1 - lam) * self._loss(logits, target[order])
        elif self.fusion_h > 0:
            fusion = self.networks["network"]
            assert isinstance(fusion, FusionNet)
            embeddings, _, logits = fusion.embed_views(inputs)
            self.observe(samples.index, logits, samples.target)
            common = torch.stack([soft_hgr(*pair) for pair in itertools.combinations(embeddings.values(), 2)]).mean()
            self.means.add("train/soft_hgr", common, batch.weight_of("train"))
            loss = self._loss(logits, target) - self.fusion_h * common
        else:
            logits = self(inputs)
            self.observe(samples.index, logits, samples.target)
            loss = self._loss(logits, target)
        self.means.add("train/loss", loss, batch.weight_of("train"))
        return loss

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return one_for_all(self.networks.parameters(), self.optimizer, self.scheduler)
