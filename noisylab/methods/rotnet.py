"""RotNet: an encoder that learns without labels, by predicting how an image was rotated."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from noisylab.losses import cross_entropy
from noisylab.methods.pretraining import Pretraining
from noisylab.models.network import NetFactory
from noisylab.specs import Factory
from noisylab.transforms.rotation import all_rotations
from noisylab.types import PlanBatch

__all__ = ["RotNet"]


class RotNet(Pretraining):
    """Learns an encoder without labels, by predicting by how many quarter turns an image was rotated.

    This is the cheapest pre-training method: a later run of another method starts from its encoder
    (``--init_from RUN``, see docs/pretraining.md). Images must be square and must have a right way up: a disc seen from above
    has nothing to teach.

    Objective: with all four rotations of B images, 4 B rows, ``L = mean CE(W f(x), r)``, where r = 0..3 counts quarter turns
    counterclockwise, f is the encoder and W a separate linear head, which is not passed on to later runs.

    The network's own head learns the given labels from detached encoder outputs of the upright images
    (`noisylab.methods.pretraining.Pretraining`). Its accuracy, that of a linear probe in training, is the accuracy of the run.
    ``train/rotation_acc`` is the share of rotations that are predicted correctly.

    **Paper**: Gidaris, Singh and Komodakis, Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018.

    **Authors' code**: https://github.com/gidariss/FeatureLearningRotNet

    **Differences** from that code: images are normalized before they are rotated, which is the same for per-channel statistics;
    any network that ends in a linear layer works (there, a network-in-network of four blocks, of which the first two are passed
    on); the probe is trained at the same time, there afterwards.

    Args:
        num_classes: K, of the probe.
        network: factory of the network, which must end in a linear layer.
        view: name of the view that is rotated.
        optimizer: factory; SGD with rate 0.1, momentum 0.9 (Nesterov) and weight decay 5e-4 if None. The authors divide the rate
            by 5 after 60, 120 and 160 of 200 epochs.
        **pretraining: see `noisylab.methods.pretraining.Pretraining`.

    Example:
        >>> from noisylab.models import SmallCNN
        >>> RotNet(num_classes=10, network=SmallCNN).rotation_head.out_features
        4
    """

    needs_images: ClassVar[bool] = True
    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(
        SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    )

    def __init__(self, num_classes: int, network: NetFactory, view: str = "weak", **pretraining: Any) -> None:
        super().__init__(num_classes, network, **pretraining)
        self.train_views = (view,)
        self.rotation_head = nn.Linear(self.network.embedding_width, 4)

    def task_parameters(self) -> list[nn.Parameter]:
        """The parameters of the rotation head."""
        return list(self.rotation_head.parameters())

    def task(self, batch: PlanBatch) -> tuple[Tensor, Tensor]:
        """The cross-entropy of the rotations, and the embeddings of the upright images."""
        turned, quarters = all_rotations(batch["train"].views[0])
        embedding, _ = self.network.embed(turned)
        logits = self.rotation_head(embedding)
        losses = cross_entropy(logits, quarters, reduction="none")
        right = (logits.detach().argmax(1) == quarters).float()
        self.means.add("train/rotation_acc", self.mean(right), batch.weight_of("train"))
        return self.mean(losses), embedding[::4]
