"""How much an embedding says about the classes, and how much two embeddings say about each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["HScore", "SoftHGR"]

_RTOL = 1e-9  # directions with less of the largest variance are rounding errors of float32


class _Sums:
    """Sums over the batches of an evaluation, in float64."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def _add(self, found: dict[str, Tensor]) -> None:
        self._sums = {name: self._sums[name] + value if name in self._sums else value for name, value in found.items()}

    def _take(self, sum_over_ranks: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        sums = {name: sum_over_ranks(value).cpu().double() for name, value in self._sums.items()}
        self._sums = {}
        return sums

    def reset(self) -> None:
        """Forget all samples."""
        self._sums = {}


class HScore(_Sums):
    """The H-score of an embedding f for labels y over the samples of an evaluation: ``tr(cov(f)^-1 cov(E[f | y]))``.

    It is between 0, for an embedding whose class means are equal, and K - 1: the share of the variance that lies between the
    classes, summed over the directions. Directions in which f does not vary do not count (the inverse is the pseudo-inverse).
    With hardly more samples than dimensions it says nothing: an embedding with as many dimensions as there are samples reaches
    K - 1 whatever the labels.

    Source: Bao, Li, Huang, Zhang, Zheng, Zamir, Guibas, An Information-Theoretic Approach to Transferability in Task Transfer
    Learning, ICIP 2019.

    Args:
        num_classes: K.

    Example:
        >>> score = HScore(num_classes=2)
        >>> score.update(torch.tensor([[1., 0], [0, 1], [1, 1], [0, 0]]), torch.tensor([0, 1, 0, 1]))
        >>> round(score.compute(), 6)
        1.0
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def update(self, embedding: Tensor, target: Tensor) -> None:
        """Add the samples of a batch; those whose `target` is -1 do not count.

        Args:
            embedding: (B, D) float.
            target: (B,) int64.
        """
        f = _exact(embedding)
        known = (target >= 0).to(f.dtype)
        member = torch.nn.functional.one_hot(target.clamp_min(0), self.num_classes).to(f.dtype) * known[:, None]
        self._add({"square": f.T @ (f * known[:, None]), "sum": member.T @ f, "count": member.sum(0)})

    def compute(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> float:
        """The score; NaN for fewer than two samples. Resets.

        Args:
            sum_over_ranks: sums a tensor over all ranks, which must then all call this.
        """
        sums = self._take(sum_over_ranks)
        if not sums or float(sums["count"].sum()) < 2:
            return float("nan")
        count = sums["count"].sum()
        mean = sums["sum"].sum(0) / count
        between = sums["sum"] / sums["count"].clamp_min(1)[:, None] - mean
        spread = (between * sums["count"][:, None]).T @ between / (count - 1)
        covariance = (sums["square"] - count * mean[:, None] * mean) / (count - 1)
        return float((torch.linalg.pinv(covariance, rtol=_RTOL, hermitian=True) * spread).sum())


class SoftHGR(_Sums):
    """`noisylab.losses.soft_hgr` of two embeddings, over all samples of an evaluation.

    Example:
        >>> score = SoftHGR()
        >>> score.update(torch.tensor([[1., 0], [0, 1]]), torch.tensor([[1., 0], [0, 2]]))
        >>> score.update(torch.tensor([[1., 1], [0, 0]]), torch.tensor([[1., 1], [0, 1]]))
        >>> round(score.compute(), 6)
        0.5
    """

    def update(self, first: Tensor, second: Tensor) -> None:
        """Add the samples of a batch.

        Args:
            first: (B, D) float.
            second: (B, D) float.
        """
        f, g = _exact(first), _exact(second)
        count = f.new_tensor(float(len(f)))
        self._add({"both": (f * g).sum(0), "f": f.sum(0), "g": g.sum(0), "ff": f.T @ f, "gg": g.T @ g, "count": count})

    def compute(self, sum_over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> float:
        """The value; NaN for fewer than two samples. Resets.

        Args:
            sum_over_ranks: sums a tensor over all ranks, which must then all call this.
        """
        sums = self._take(sum_over_ranks)
        if not sums or float(sums["count"]) < 2:
            return float("nan")
        count, f, g = sums["count"], sums["f"], sums["g"]
        rows = count - 1
        common = (sums["both"] - f * g / count).sum() / rows
        covariances = [(square - total[:, None] * total / count) / rows for square, total in ((sums["ff"], f), (sums["gg"], g))]
        return float(common - (covariances[0] * covariances[1]).sum() / 2)


def _exact(embedding: Tensor) -> Tensor:
    """In float64 where the device has it."""
    return embedding.detach().to(torch.float32 if embedding.device.type == "mps" else torch.float64)
