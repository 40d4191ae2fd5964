"""Callback that logs how much the embeddings of validation rows say about the labels, and about each other."""

from __future__ import annotations

import itertools
from typing import Any

import lightning as L
import torch
from torch import Tensor

from noisylab.methods.base import NoisyLabelMethod
from noisylab.metrics.h_score import HScore, SoftHGR
from noisylab.models.fusion import FusionNet
from noisylab.models.network import Network
from noisylab.types import EvalBatch

__all__ = ["HScores"]


class HScores(L.Callback):
    """Logs ``val/h_score``, and for a `FusionNet` of several views ``val/soft_hgr``, after every validation.

    ``val/h_score`` is the H-score (`noisylab.metrics.HScore`) of what the network's last layer sees, for the labels that
    validation compares with: given or true ones, as ``val_labels`` says. ``val/soft_hgr`` is the Soft-HGR
    (`noisylab.metrics.SoftHGR`) of the embeddings of two views; of more than two, the mean over the pairs. Rows without a label
    do not count. The network is the headline predictor or, where that is an ensemble or an average, the method's first network.
    It reads each validation row a second time: validation takes about twice as long for a method with one network.

    ``trainer.callbacks: [noisylab.callbacks.HScores]`` in a recipe, or ``--trainer.callbacks+ noisylab.callbacks.HScores``.
    """

    def __init__(self) -> None:
        self._classes: HScore | None = None
        self._views: list[SoftHGR] = []
        self._seen = False  # whether there were validation rows

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an evaluation that was broken off.

        Raises:
            ValueError: the network has no embedding.
        """
        self._classes, self._seen = None, False
        if isinstance(pl_module, NoisyLabelMethod):
            network = _network(pl_module)
            _ = network.embedding_width  # refuses a network without one by name
            names = network.view_names if isinstance(network, FusionNet) else ()
            self._classes, self._views = HScore(pl_module.num_classes), [SoftHGR() for _ in itertools.combinations(names, 2)]

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add the rows of a batch of the validation split."""
        if self._classes is None or not isinstance(batch, EvalBatch) or batch.split != "val":
            return
        assert isinstance(pl_module, NoisyLabelMethod)
        network, known, self._seen = _network(pl_module), batch.target >= 0, True
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            views: dict[str, Tensor] = {}
            if isinstance(network, FusionNet):
                views, embedding, _ = network.embed_views(batch.inputs)
            else:
                embedding, _ = network.embed(batch.inputs)
        self._classes.update(embedding[known], batch.target[known])
        for score, (first, second) in zip(self._views, itertools.combinations(views.values(), 2), strict=True):
            score.update(first[known], second[known])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the scores."""
        if self._classes is None or not self._seen or trainer.sanity_checking:
            return
        assert isinstance(pl_module, NoisyLabelMethod)
        found = {"val/h_score": self._classes.compute(pl_module.sum_over_ranks)}
        if self._views:
            found["val/soft_hgr"] = sum(score.compute(pl_module.sum_over_ranks) for score in self._views) / len(self._views)
        pl_module.log_epoch(found)


def _network(method: NoisyLabelMethod) -> Network:
    """The network that is looked at."""
    network = method.networks[method.headline if method.headline in method.networks else next(iter(method.networks))]
    assert isinstance(network, Network)
    return network
