"""Prediction and evaluation: the part of every method that does not depend on how it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from noisylab.engine.precision import prepare_precision
from noisylab.engine.ranks import AcrossRanks
from noisylab.methods.scoring import score_rows
from noisylab.metrics.accuracy import ClipProbabilities, SplitConfusions, TopFive, ValidationLoss, accuracies, accuracy
from noisylab.types import DataInfo, EvalBatch, Inputs, PlanBatch

__all__ = ["Predictor"]


class Predictor(AcrossRanks):
    """Networks by name, their predictions, and accuracies on every split.

    A level of its own above `NoisyLabelMethod`, so that whoever reads how a method learns need not read this.

    Args:
        num_classes: K, at least 2.

    Attributes:
        info: what the method knows of its data; there once it has met them.
        networks: by name; the first is the headline predictor.
        epoch_metrics: what was logged in the current epoch.
        last_confusions: (K, K) counts by (split, predictor), of the last evaluation.
        ensemble: how several networks answer together: by the mean of their "probs" or of their "logits".
    """

    ensemble: ClassVar[Literal["probs", "logits"]] = "probs"
    info: DataInfo
    plain_batches: ClassVar[tuple[type, ...]] = (PlanBatch, EvalBatch)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.num_classes = num_classes
        self.networks = nn.ModuleDict()
        self.confusions = SplitConfusions(num_classes)
        self.clip_probs = ClipProbabilities()
        self.val_loss = ValidationLoss()
        self.top_five = TopFive()
        self.last_confusions: dict[tuple[str, str], Tensor] = {}
        self.epoch_metrics: dict[str, float] = {}

    def setup(self, stage: str) -> None:
        """Take the Trainer's precision; see `noisylab.engine.precision.prepare_precision`."""
        prepare_precision(self.trainer, self, stage)
        hooks = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
        data = getattr(self.trainer, "datamodule", None)
        owners = [self] if data is None else [self, data]
        self.transfers_plainly = not any(is_overridden(hook, owner) for hook in hooks for owner in owners)

    @property
    def headline(self) -> str:
        """The predictor whose accuracy the method's protocol reports: a network's name, or "ensemble"."""
        return next(iter(self.networks))

    @property
    def predictors(self) -> tuple[str, ...]:
        """The predictors whose logits `all_logits` returns: each network's and, where there are several, their "ensemble"'s."""
        return (*self.networks, "ensemble") if len(self.networks) > 1 else tuple(self.networks)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (B, K) of the headline predictor."""
        if self.headline == "ensemble":
            return self.all_logits(inputs)["ensemble"]
        return self.checked(self.networks[self.headline](inputs))

    def together(self, logits: Sequence[Tensor]) -> Tensor:
        """Logits (B, K) of the answer that several networks give together, see `ensemble`."""
        each = torch.stack(list(logits))
        return each.mean(0) if self.ensemble == "logits" else F.log_softmax(each, 2).logsumexp(0) - math.log(len(each))

    def all_logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Float32 logits (B, K) of each network and, if there are several, of their "ensemble": the mean of their logits, or
        the log of their mean probability."""
        logits = {name: self.checked(network(inputs)).float() for name, network in self.networks.items()}
        if len(logits) > 1:
            logits["ensemble"] = self.together(list(logits.values()))
        return logits

    def given_logits(self, logits: Tensor) -> Tensor:
        """The prediction (B, K) of the given labels that follows from `logits` (B, K) of the true ones.

        Validation on given labels looks at these, and so does whatever is chosen by it.
        """
        return logits

    def checked(self, logits: Tensor) -> Tensor:
        """Return `logits` if they have one column per class; otherwise raise a ValueError."""
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(
                f"the network returned {tuple(logits.shape)}, expected (batch, {self.num_classes}): its last layer must have "
                "one output per class; pass num_classes to it"
            )
        return logits

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        """Log numbers of this epoch, the same on all ranks, to the loggers and to the run's own curves."""
        self.epoch_metrics.update(metrics)
        # the mean of equal numbers; without it Lightning warns of every one
        several = self.trainer.world_size > 1
        self.log_dict(dict(metrics), on_step=False, on_epoch=True, batch_size=1, sync_dist=several)

    def validation_step(self, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Count every predictor's answers on the batch's split; returns the headline predictor's ``logits`` (B, K)."""
        logits = self.all_logits(batch.inputs)
        headline = logits[self.headline]
        if batch.split == "val":
            if self.trainer.datamodule.val_labels == "given":  # type: ignore[attr-defined]
                logits = {name: self.given_logits(values) for name, values in logits.items()}
            self.val_loss.update(logits[self.headline], batch.target)
        self.confusions.update(batch.split, logits, batch.target)
        self.top_five.update(batch.split, logits[self.headline], batch.target)
        clip = self.trainer.datamodule.clips(batch.split)  # type: ignore[attr-defined]
        if clip is not None:
            probs = F.softmax(logits[self.headline], 1)
            self.clip_probs.update(batch.split, probs, batch.target, batch.index, clip)
        return {"logits": headline}

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log accuracies; see `noisylab.metrics.accuracy.accuracies`.

        Raises:
            ValueError: naming a sample whose input was NaN or infinite.
        """
        confusions = self.confusions.compute()
        self.confusions.reset()
        clips = self.clip_probs.compute(self.sum_over_ranks)
        self.clip_probs.reset()
        losses, tops = self.val_loss.compute(self.sum_over_ranks), self.top_five.compute(self.sum_over_ranks)
        for split in dict.fromkeys(split for split, _ in confusions):
            self.refuse_bad_inputs(split)
        if not self.trainer.sanity_checking:
            self.last_confusions = confusions
            self.log_epoch({**accuracies(confusions, self.headline, clips), **tops, **losses})

    on_test_epoch_end = on_validation_epoch_end

    def on_predict_epoch_end(self) -> None:
        """Refuse inputs that were NaN or infinite, as `on_validation_epoch_end` does."""
        for split in ("predict", "test"):  # without inputs of its own the test set is predicted
            self.refuse_bad_inputs(split)

    def refuse_bad_inputs(self, split: str) -> None:
        """Raise an error on all ranks if any received a NaN or infinite input of a split; waits for the device.

        Raises:
            ValueError: naming the sample.
        """
        data, several = self.trainer.datamodule, self.trainer.world_size > 1  # type: ignore[attr-defined]
        data.refuse_bad_inputs(split, lambda row: self.gather(row).amax(0) if several else row)

    def last_accuracy(self, split: str) -> float | None:
        """Accuracy of the headline network in the last evaluation of `split`."""
        confusion = self.last_confusions.get((split, self.headline))
        return None if confusion is None else accuracy(confusion)

    def predict_step(self, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Rows, labels and the headline network's probabilities (B, K)."""
        return {"index": batch.index, "target": batch.target, "probs": F.softmax(self(batch.inputs).float(), 1)}

    def score(self, measure: Any, rows: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The scoring pass over training rows; see `noisylab.methods.scoring.score_rows`."""
        scored = score_rows(
            self.networks,
            self.trainer.datamodule,  # type: ignore[attr-defined]
            measure,
            rows=self.info.train_rows if rows is None else rows,
            device=self.device,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
            all_gather=self.gather,
            forward_context=self.trainer.precision_plugin.forward_context,
        )
        self.refuse_bad_inputs("train")
        return scored
