"""RotNet: an encoder that tells how an image was turned, learned without labels."""

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
    """Learns an encoder without labels: it tells by how many quarter turns an image was rotated.

    A pre-training, the cheapest one: what it is for is a later run of another method that starts from its encoder
    (``--init_from RUN``, see docs/pretraining.md). Images must be square, and have a way up: of a disc seen from above there is
    nothing to learn.

    Objective: of B images all four rotations, 4 B rows, ``L = mean CE(W f(x), r)`` with r = 0..3 quarter turns counterclockwise,
    f the encoder and W a linear head of its own, which stays behind.

    The network's own head learns the given labels from detached encoder outputs of the upright images,
    `noisylab.methods.pretraining.Pretraining`: its accuracy, that of a linear probe while it trains, is the accuracy of the run.
    ``train/rotation_acc`` is the share of turns that are told right.

    **Paper**: Gidaris, Singh and Komodakis, Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018.

    **Authors' code**: https://github.com/gidariss/FeatureLearningRotNet

    **Differences** from that code: images are normalized before they are turned, which for numbers per channel is the same; any
    network that ends in a linear layer serves, there a network in network of four blocks, of which the first two are handed over;
    the probe is trained along, there afterwards.

    Args:
        num_classes: K, of the probe.
        network: factory of the network, which must end in a linear layer.
        view: name of the view that is turned.
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
        """Those of the rotation head."""
        return list(self.rotation_head.parameters())

    def task(self, batch: PlanBatch) -> tuple[Tensor, Tensor]:
        """The cross-entropy of the turns; the embeddings of the upright images."""
        turned, quarters = all_rotations(batch["train"].views[0])
        embedding, _ = self.network.embed(turned)
        logits = self.rotation_head(embedding)
        losses = cross_entropy(logits, quarters, reduction="none")
        right = (logits.detach().argmax(1) == quarters).float()
        self.means.add("train/rotation_acc", self.mean(right), batch.weight_of("train"))
        return self.mean(losses), embedding[::4]
