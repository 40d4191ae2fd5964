"""Confusion matrices of every predictor on every evaluation split."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

__all__ = ["SplitConfusions", "accuracy", "balanced_accuracy"]


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


def accuracies(confusions: Mapping[tuple[str, str], Tensor], headline: str) -> dict[str, float]:
    """Logged numbers: ``<split>/acc`` and ``<split>/balanced_acc`` of the headline predictor, ``<split>/acc_<name>`` of each of
    several.

    Args:
        confusions: (K, K) counts by (split, predictor).
        headline: name of the headline predictor.
    """
    found: dict[str, float] = {}
    several = len({name for _, name in confusions}) > 1
    for (split, name), confusion in confusions.items():
        if name == headline:
            found |= {f"{split}/acc": accuracy(confusion), f"{split}/balanced_acc": balanced_accuracy(confusion)}
        if several:
            found[f"{split}/acc_{name}"] = accuracy(confusion)
    return found
