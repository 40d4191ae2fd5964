"""Early-learning regularization."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import SGD

from noisylab.arguments import FractionBelowOne, NonNegative
from noisylab.engine.optimizers import one_for_all, optimizer_factory, scheduler_factory
from noisylab.losses import elr_loss, elr_target, given_share, predicts_given
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.softlabels import soft_target
from noisylab.models.network import NetFactory
from noisylab.renamed import old_argument
from noisylab.types import LRSchedulerFactory, OptimizerFactory, PlanBatch

__all__ = ["ELR"]


class ELR(NoisyLabelMethod):
    """Holds a network to what it predicted early in training, before it memorized wrong labels.

    A network learns the right labels first and the wrong ones later. ELR keeps a moving average t of the predictions for each
    sample and adds a term that falls as the prediction agrees with it. On samples with a wrong label its gradient cancels
    that of the cross-entropy; on the others it keeps the gradient from vanishing.

    Objective: ``L = mean_i CE(z_i, y_i) + lambda * mean_i log(1 - <t_i, p_i>)``, with z_i the logits, y_i the given label,
    p_i the softmax clamped to [1e-4, 1 - 1e-4] and ``t_i <- beta t_i + (1 - beta) p_i / sum_c p_ic`` just before, without
    gradient and from t_i = 0. The loss is negative for most of the training: its second part goes down to -6.9 lambda for ten
    classes. Where the data has soft labels (`FromAnnotators`), the cross-entropy is to these.

    The average also says which labels are right: a sample is taken as clean where it is largest at the given label, and
    ``t_i[y_i] / sum_c t_i[c]`` is the score, 0 for samples that were not trained on.

    **Paper**: Liu, Niles-Weed, Razavian and Fernandez-Granda, Early-Learning Regularization Prevents Memorization of Noisy
    Labels, NeurIPS 2020, https://arxiv.org/abs/2007.00151

    **Authors' code**: https://github.com/shengliu66/ELR, folder ELR

    **Differences** from that code: the averages are in the checkpoint, so a resumed run continues with them (there they are
    lost); their rows are those of the data set (there of the training split); probabilities and the logarithm are computed in
    float32 also under 16-bit training, where 1 - 1e-4 would be 1; noise and split have seeds of their own (there an unseeded
    generator). Noise is drawn for all rows before rows are held out by given label; there rows are held out first, as many of
    each true class, and the two parts are disturbed apart. Their asymmetric CIFAR-10 noise is ``Asymmetric(in_place=True)``,
    their asymmetric CIFAR-100 noise ``mapping="next_of_five"``. Left out are epochs of a fixed number of batches
    (``--trainer.limit_train_batches`` shortens one) and a warm-up of cross-entropy; both are 0 in their configurations for CIFAR.

    **Compared**: steps with the same batches and draws give the authors' weights to 4e-9. The authors' loop, patched to run
    on a CPU, on digits with 40 % symmetric noise, `SmallCNN`, 60 epochs, three seeds, mean of the last ten epochs: 96.89 ±
    0.98; here 97.18 ± 0.36. How both were made: docs/authors_code.md.

    Args:
        num_classes: K.
        network: factory of the network.
        target_momentum: beta, share of the old value in the moving average of predictions, in [0, 1); 0.9 on CIFAR-100 and for
            asymmetric noise.
        regularization: lambda, 0 or more; 7 on CIFAR-100, 1 for asymmetric noise on CIFAR-10.
        optimizer: factory; SGD with rate 0.02, momentum 0.9 and weight decay 1e-3 if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.
        regularisation: the old name of `regularization`; will be removed in version 0.3.

    Example:
        >>> from noisylab.models import MLP
        >>> from functools import partial
        >>> ELR(num_classes=3, network=partial(MLP, in_features=4)).memory.fields()["target"][0]
        (3,)
    """

    recordable = True
    uses_soft = True

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        target_momentum: FractionBelowOne = 0.7,
        regularization: NonNegative = 3.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
        regularisation: NonNegative | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.target_momentum = target_momentum
        self.regularization = old_argument("regularisation", regularisation, "regularization", regularization)
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.02, momentum=0.9, weight_decay=1e-3)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, "network")
        self.memory.add("target", num_classes)

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        """One batch: its moving averages, then the loss with them."""
        samples = batch["train"]
        y, index = samples.target, samples.index
        logits = self(samples.views[0])
        self.observe(index, logits, y)
        targets = elr_target(self.memory["target"][index], logits, self.target_momentum)
        self.memory.write("target", index, targets)
        soft = soft_target(self, samples)
        labels = y if soft is None else soft
        loss = self.mean(elr_loss(logits, labels, targets, self.regularization, reduction="none"))
        self.means.add("train/loss", loss, batch.weight_of("train"))
        return loss

    def clean_mask(self) -> Tensor | None:
        """Samples whose moving average is largest at the given label; None before training."""
        return predicts_given(self.memory["target"], self._given()) if self._written() else None

    def clean_prob(self) -> Tensor | None:
        """The fraction of each moving average at the given label; 0 for samples never trained on, None before training."""
        return given_share(self.memory["target"], self._given()) if self._written() else None

    def _given(self) -> Tensor:
        return self.info.given_target.to(self.memory["target"].device)

    def _written(self) -> bool:
        return hasattr(self, "info") and "target" in self.memory and bool(self.memory["target"].any())

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return one_for_all(self.networks.parameters(), self.optimizer, self.scheduler)
