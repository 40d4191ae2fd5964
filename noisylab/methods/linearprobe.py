"""A linear classifier on frozen features."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim import SGD

from noisylab.engine.modes import in_mode, without_gradient
from noisylab.engine.optimizers import one_for_all, optimizer_factory, scheduler_factory
from noisylab.losses import cross_entropy, soft_cross_entropy
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.softlabels import soft_target
from noisylab.models.network import NetFactory, Network
from noisylab.types import EpochPlan, LRSchedulerFactory, OptimizerFactory, Phase, PlanBatch, Stream

__all__ = ["LinearProbe"]


class LinearProbe(NoisyLabelMethod):
    """Trains only the last layer of a network on the given labels; the layers before it do not change.

    The control for pre-training: with ``--init_from RUN`` it shows how well a linear classifier does on an encoder that was
    trained without labels. With wrong labels, compare its validation accuracy with that of plain cross-entropy after a few
    epochs to see whether the encoder is worth starting from (docs/pretraining.md). Without ``--init_from`` it is a classifier
    on random features, unless the network has pretrained weights.

    Objective: ``L = mean_i CE(W f(x_i), y_i)``, with f the encoder in evaluation mode, batch statistics included, and W the head.

    **Paper**: none; this is the usual protocol for features learned without labels.

    **Authors' code**: none.

    **Differences**: none.

    Args:
        num_classes: K.
        network: factory of the network, which must end in a linear layer.
        view: name of the view that is trained on.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 and no weight decay if None.
        scheduler: factory of a schedule stepped once an epoch; a constant rate if None.

    Example:
        >>> from noisylab.models import SmallCNN
        >>> method = LinearProbe(num_classes=10, network=SmallCNN)
        >>> [name for name, parameter in method.network.named_parameters() if parameter.requires_grad]
        ['head.weight', 'head.bias']
    """

    needs_embedding: ClassVar[bool] = True
    trains_encoder: ClassVar[bool] = False
    uses_soft: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        view: str = "weak",
        optimizer: OptimizerFactory | None = None,
        scheduler: LRSchedulerFactory | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.save_hyperparameters()
        self.train_views = (view,)
        self.optimizer = optimizer_factory(optimizer, SGD, lr=0.1, momentum=0.9)
        self.scheduler = scheduler_factory(scheduler)
        self.add_networks(network, "network")
        self.network.requires_grad_(False)
        self.network.get_submodule(self.network.head_name).requires_grad_(True)

    @property
    def network(self) -> Network:
        """The network whose head is trained."""
        found = self.networks["network"]
        assert isinstance(found, Network)
        return found

    def epoch_plan(self, epoch: int) -> EpochPlan:
        """All training rows once."""
        return EpochPlan((Phase(streams={"train": Stream(views=self.train_views)}),))

    def training_step(self, batch: PlanBatch, batch_idx: int) -> Tensor:
        """One batch: frozen features, cross-entropy of the head."""
        samples = batch["train"]
        with in_mode(self.network, training=False), without_gradient():
            features, _ = self.network.embed(samples.views[0])
        logits = self.checked(self.network.get_submodule(self.network.head_name)(features))
        self.observe(samples.index, logits, samples.target)
        soft = soft_target(self, samples)
        losses = (
            cross_entropy(logits, samples.target, reduction="none")
            if soft is None
            else soft_cross_entropy(logits, soft, reduction="none")
        )
        loss = self.mean(losses)
        self.means.add("train/loss", loss, batch.weight_of("train"))
        return loss

    def configure_optimizers(self) -> Any:
        """The optimizer of the head and its schedule."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return one_for_all(trained, self.optimizer, self.scheduler)
