"""Confusion matrices of every predictor on every evaluation split, accuracy among the five most probable classes, and accuracy
per clip where rows are frames of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

__all__ = ["ClipProbabilities", "SplitConfusions", "TopFive", "ValidationLoss", "accuracies", "accuracy", "balanced_accuracy"]


def accuracy(confusion: Tensor) -> float:
    """Share of samples on the diagonal of a (K, K) count matrix; NaN without samples."""
    total = int(confusion.sum())
    return int(confusion.diagonal().sum()) / total if total else float("nan")


def balanced_accuracy(confusion: Tensor) -> float:
    """Mean recall over the classes that have samples; rows of the (K, K) matrix are the true classes. NaN without samples."""
    support = confusion.sum(1)
    recall = confusion.diagonal()[support > 0].double() / support[support > 0]
    return float(recall.mean()) if len(recall) else float("nan")


class SplitConfusions(nn.Module):
    """One confusion matrix for each (split, predictor), gathered over ranks by torchmetrics.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self._matrices: dict[tuple[str, str], MulticlassConfusionMatrix] = {}

    def update(self, split: str, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Count predictions; samples whose `target` is -1 do not count.

        Args:
            split: name of the split.
            logits: (B, K) by predictor.
            target: (B,) int64.
        """
        for predictor, values in logits.items():
            if (split, predictor) not in self._matrices:
                # nothing is validated per batch: that would read back from the device
                matrix = MulticlassConfusionMatrix(self.num_classes, ignore_index=-1, validate_args=False)
                self._matrices[split, predictor] = matrix.to(values.device)
            self._matrices[split, predictor].update(values.argmax(1), target)

    def compute(self) -> dict[tuple[str, str], Tensor]:
        """The (K, K) int64 matrices on the CPU, rows the targets; all ranks must call it together."""
        return {key: matrix.compute().cpu().to(torch.int64) for key, matrix in self._matrices.items()}

    def reset(self) -> None:
        """Forget all counts."""
        self._matrices.clear()


class TopFive:
    """Share of the samples whose label is among the five classes of the headline predictor's highest logits; for K above five.

    Of equal logits those of the lower class come first, as they do for the class that is predicted.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Tensor] = {}

    def update(self, split: str, logits: Tensor, target: Tensor) -> None:
        """Count the rows of a batch; those whose `target` is -1 do not count.

        Args:
            split: name of the split.
            logits: (B, K) float; with five classes or fewer nothing is counted.
            target: (B,) int64.
        """
        if logits.shape[1] <= 5:
            return
        label = target.clamp_min(0)[:, None]
        own, classes = logits.gather(1, label), torch.arange(logits.shape[1], device=logits.device)
        ahead = ~(logits < own) & ((logits != own) | (classes < label))  # a NaN is right in no row
        known = target >= 0
        counts = torch.stack([(known & (ahead.sum(1) < 5)).sum(), known.sum()])
        self._counts[split] = self._counts[split] + counts if split in self._counts else counts

    def compute(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda counts: counts) -> dict[str, float]:
        """Return ``<split>/top5`` of every split that was counted, NaN without known labels, and reset.

        Args:
            sum_over_ranks: sums a tensor over all ranks, which must then all call this.
        """
        counts = {split: sum_over_ranks(found).tolist() for split, found in self._counts.items()}
        self._counts.clear()
        return {f"{split}/top5": right / all_ if all_ else float("nan") for split, (right, all_) in counts.items()}


class ClipProbabilities:
    """The headline predictor's probabilities of every row of a split, kept until the clips are evaluated.

    A clip's class is the most probable one by the mean probability of its rows (the first of several). The rows are kept, at 4 K
    bytes each, and summed in their order: the answer does not depend on the batches, nor on which rank saw which row.
    """

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def update(self, split: str, probs: Tensor, target: Tensor, index: Tensor, clip: Tensor) -> None:
        """Keep the rows of a batch; those whose `target` is -1 do not count.

        Args:
            split: name of the split.
            probs: (B, K) float32; detached.
            target: (B,) int64, the same for all rows of a clip.
            index: (B,) int64 row of each sample in 0..R-1.
            clip: (R,) int64 clip of every row.
        """
        if split not in self._rows:
            table = probs.new_zeros(len(clip), probs.shape[1], dtype=torch.float32)
            self._rows[split] = table, target.new_zeros(len(clip)), clip
        kept, labels, _ = self._rows[split]
        kept.index_copy_(0, index, torch.where((target >= 0)[:, None], probs.detach().float(), 0.0))
        labels.index_copy_(0, index, target + 1)  # 0 marks a row that does not count

    def compute(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda rows: rows) -> dict[str, float]:
        """Fraction of the clips with the right class, by split; NaN without clips. A clip counts if one of its rows does.

        Args:
            sum_over_ranks: sums a tensor over all ranks, which must then all call this; each row is with one rank.
        """
        found = {}
        for split, (kept, labels, clip) in self._rows.items():
            probs, label = sum_over_ranks(kept).cpu().double(), sum_over_ranks(labels).cpu()
            names, number = torch.unique(clip.cpu(), return_inverse=True)
            mass = probs.new_zeros(len(names), probs.shape[1]).index_add_(0, number, probs)
            expected = label.new_zeros(len(names)).scatter_reduce(0, number, label, "amax") - 1
            right = (mass.argmax(1) == expected)[expected >= 0]
            found[split] = float(right.double().mean()) if len(right) else float("nan")
        return found

    def reset(self) -> None:
        """Forget all rows."""
        self._rows.clear()


class ValidationLoss:
    """Mean cross-entropy of the headline predictor over the validation rows."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add the rows of a batch; those whose `target` is -1 do not count.

        Args:
            logits: (B, K) float.
            target: (B,) int64.
        """
        total = F.cross_entropy(logits.float(), target, ignore_index=-1, reduction="sum")
        sums = torch.stack([total, (target >= 0).sum().to(total.dtype)])
        self._sums = sums if self._sums is None else self._sums + sums

    def compute(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """Return ``val/loss``, if anything was validated, and reset.

        Args:
            sum_over_ranks: sums a tensor over all ranks, which must then all call this.
        """
        if self._sums is None:
            return {}
        total, count = sum_over_ranks(self._sums).tolist()
        self._sums = None
        return {"val/loss": total / count if count else float("nan")}


def accuracies(
    confusions: Mapping[tuple[str, str], Tensor], headline: str, clips: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Logged numbers: ``<split>/acc`` and ``<split>/balanced_acc`` of the headline predictor, ``<split>/acc_<name>`` of each of
    several; where rows are frames of clips also ``<split>/acc_frame``, which is ``<split>/acc`` by its other name, and
    ``<split>/acc_sample``, of whole clips.

    Args:
        confusions: (K, K) counts by (split, predictor).
        headline: name of the headline predictor.
        clips: accuracy of the clips by split, of `ClipProbabilities`; `None` for none.
    """
    found: dict[str, float] = {}
    clips = clips or {}
    several = len({name for _, name in confusions}) > 1
    for (split, name), confusion in confusions.items():
        if name == headline:
            found |= {f"{split}/acc": accuracy(confusion), f"{split}/balanced_acc": balanced_accuracy(confusion)}
            if split in clips:
                found |= {f"{split}/acc_frame": found[f"{split}/acc"], f"{split}/acc_sample": clips[split]}
        if several:
            found[f"{split}/acc_{name}"] = accuracy(confusion)
    return found
