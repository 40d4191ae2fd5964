"""SimCLR: an encoder that recognizes two views of one sample, learned without labels."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from noisylab.arguments import AtLeastOne, Positive, Range
from noisylab.losses import nt_xent
from noisylab.methods.pretraining import Pretraining
from noisylab.models.network import NetFactory
from noisylab.specs import Factory
from noisylab.types import PlanBatch

__all__ = ["SimCLR"]


class SimCLR(Pretraining):
    """Learns an encoder without labels: two views of a sample should look alike, and unlike all others in the batch.

    This is a pre-training method: a later run of another method starts from its encoder. With
    ``noisylab fit --model DivideMix ... --init_from RUN``, the warm-up on wrong labels, which decides much of what follows,
    starts from features that no label has influenced (C2D). See docs/pretraining.md.

    Objective: take two views of each of B samples. ``h = f(x)`` is the encoder's output, ``z = g(h) / |g(h)|`` the normalized
    output of a projection head (D, ReLU, `projection`). The loss is the mean over all 2 B rows, of all processes together, of
    ``l_i = -log(exp(z_i z_p(i) / T) / sum_{j != i} exp(z_i z_j / T))``, with p(i) the other view of the same sample. The
    projection head is not part of the network and is not passed on to later runs.

    The network's own head learns the given labels from detached encoder outputs (`noisylab.methods.pretraining.Pretraining`). Its
    accuracy, that of a linear probe in training, is the accuracy of the run. ``train/found`` is the share of views whose
    nearest neighbor in the batch is the other view of the same sample.

    **Paper**: Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual Representations, ICML
    2020; for wrong labels Zheltonozhskii, Baskin, Mendelson, Bronstein and Litany, Contrast to Divide, WACV 2022.

    **Authors' code**: https://github.com/ContrastToDivide/C2D at 3805386, which takes its encoders from the trainer of
    https://github.com/HobbitLong/SupContrast

    **Differences** from that trainer: its loss is multiplied by T / 0.07, here by 1 unless `base_temperature` is 0.07; here the
    warm-up raises the learning rate per epoch, not per step (`noisylab.schedules.WarmupCosine`); the probe is trained at the same
    time, there afterwards; the encoder is the chosen network without its head.

    Args:
        num_classes: K, of the probe.
        network: factory of the network, which must end in a linear layer.
        view: name of the view that is drawn twice.
        temperature: T.
        base_temperature: None for the paper's loss; 0.07 for SupContrast's.
        projection: width of the projection head's output.
        optimizer: factory; SGD with rate 0.5, momentum 0.9 and weight decay 1e-4 if None.
        **pretraining: see `noisylab.methods.pretraining.Pretraining`.

    Example:
        >>> from noisylab.models import SmallCNN
        >>> method = SimCLR(num_classes=10, network=SmallCNN)
        >>> method.train_views, method.uses_unlabeled, method.learns_labels
        (('simclr', 'simclr'), True, False)
    """

    default_optimizer: ClassVar[Factory[Optimizer]] = Factory(SGD, {"lr": 0.5, "momentum": 0.9, "weight_decay": 1e-4})

    def __init__(
        self,
        num_classes: int,
        network: NetFactory,
        view: str = "simclr",
        temperature: Positive = 0.5,
        base_temperature: Annotated[float, Range(0, ends="()", none="the paper's loss")] | None = None,
        projection: AtLeastOne = 128,
        **pretraining: Any,
    ) -> None:
        super().__init__(num_classes, network, **pretraining)
        self.train_views = (view, view)
        self.temperature, self.base_temperature = temperature, base_temperature
        width = self.network.embedding_width
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection))

    def task_parameters(self) -> list[nn.Parameter]:
        """The parameters of the projection head."""
        return list(self.projection.parameters())

    def task(self, batch: PlanBatch) -> tuple[Tensor, Tensor]:
        """The contrastive loss of two views; the embedding of the first."""
        embeddings = [self.network.embed(view)[0] for view in batch["train"].views]
        views = [self._of_all_ranks(F.normalize(self.projection(h).float(), dim=1), batch) for h in embeddings]
        loss = nt_xent(views[0], views[1], self.temperature, self.base_temperature)
        self.means.add("train/found", _found(*views), batch.weight_of("train"))
        # every rank has the loss of the whole batch and, of its gradient, the part of its own samples, which averaging divides
        ranks = self.trainer.world_size
        return (loss if ranks == 1 else loss.detach() + ranks * (loss - loss.detach())), embeddings[0]

    def _of_all_ranks(self, own: Tensor, batch: PlanBatch) -> Tensor:
        """The rows of all ranks, from rows (B, ...) of this one; only this rank's own have a gradient."""
        if self.trainer.world_size == 1:
            return own
        whole = self.whole_stream(own, batch, "train")
        places = torch.arange(self.global_rank, len(whole), self.trainer.world_size, device=own.device)
        return whole.index_copy(0, places[: len(own)], own)


@torch.no_grad()
def _found(first: Tensor, second: Tensor) -> Tensor:
    """Share of the rows whose nearest other row is their partner."""
    both = torch.cat([first, second])
    rows = torch.arange(len(both), device=both.device)
    nearest = (both @ both.T).masked_fill(rows[:, None] == rows, -torch.inf).argmax(1)
    return (nearest == rows.roll(len(first))).float().mean()
