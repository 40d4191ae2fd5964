"""How well a mixture fitted to the losses separates right from wrong labels.

Needs the true labels, as `noisylab.metrics.memorization` does, and belongs in callbacks and reports, never in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from noisylab.metrics.memorization import auroc
from noisylab.selection.mixture_fit import MixtureFit

__all__ = ["MixtureRecord", "mixture_histogram", "mixture_metrics", "mixture_record", "pack_mixtures", "unpack_mixtures"]


class MixtureRecord(TypedDict):
    """One network's mixture of one epoch, in plain values.

    Attributes:
        epoch: counted from 0.
        histogram: counts in equal bins on [0, 1]: of ``right`` and ``wrong`` labels, or of all rows as ``unknown``.
        means: of the two Gaussian components, the lower first, in normalized losses.
        variances: of the components.
        weights: of the components; they sum to 1.
        converged: whether the fit stopped by itself.
        iterations: that the fit took.
    """

    epoch: int
    histogram: dict[str, list[int]]
    means: list[float]
    variances: list[float]
    weights: list[float]
    converged: bool
    iterations: int


def mixture_histogram(values: Tensor, right: Tensor, wrong: Tensor, bins: int = 64) -> dict[str, list[int]]:
    """Counts of normalized losses in equal bins on [0, 1], each closed below and open above, the last closed on both sides.

    Args:
        values: (M,) float in [0, 1].
        right: (M,) bool, rightly labeled.
        wrong: (M,) bool, wrongly labeled, open-set samples among them.
        bins: number of bins.

    Returns:
        ``right`` and ``wrong`` (bins), which leave out samples of unknown truth; where no truth is known ``unknown``, all.

    Raises:
        ValueError: a value outside [0, 1] or NaN, or masks of another length.

    >>> mixture_histogram(torch.tensor([0., .4, .5, 1.]), torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([0, 0, 1, 0]).bool(), 2)
    {'right': [2, 0], 'wrong': [0, 1]}
    """
    if not values.shape == right.shape == wrong.shape:
        raise ValueError(
            f"values {tuple(values.shape)}, right {tuple(right.shape)} and wrong {tuple(wrong.shape)} differ in shape"
        )
    values = values.detach().cpu().double()
    outside = ~((values >= 0) & (values <= 1))  # NaN, too
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        raise ValueError(f"values[{first}] is {float(values[first])}; give the normalized losses of the fit, in [0, 1]")
    places = (values * bins).long().clamp(max=bins - 1)
    groups = {"right": right, "wrong": wrong} if bool((right | wrong).any()) else {"unknown": torch.ones_like(right)}
    return {name: torch.bincount(places[mask.cpu()], minlength=bins).tolist() for name, mask in groups.items()}


def mixture_record(epoch: int, fit: MixtureFit, right: Tensor, wrong: Tensor, bins: int = 64) -> MixtureRecord:
    """The record kept of a fit.

    Args:
        epoch: counted from 0.
        fit: M rows, their losses and the mixture.
        right: (M,) bool, which of these rows are rightly labeled.
        wrong: (M,) bool, wrongly labeled.
        bins: of the histogram.

    Raises:
        ValueError: see `mixture_histogram`.
    """
    mixture = fit.mixture
    return {
        "epoch": epoch,
        "histogram": mixture_histogram(fit.values, right, wrong, bins),
        "means": [float(value) for value in mixture.means],
        "variances": [float(value) for value in mixture.variances],
        "weights": [float(value) for value in mixture.weights],
        "converged": bool(mixture.converged),
        "iterations": int(mixture.iterations),
    }


def mixture_metrics(fit: MixtureFit, right: Tensor, wrong: Tensor) -> dict[str, float]:
    """``low_mean``, ``high_mean`` and ``low_weight`` of a fit; ``auroc`` if some true labels are known.

    The AUROC is the probability that a right label had a smaller loss than a wrong one; NaN where there is one kind only.

    Args:
        fit: M rows, their losses and the mixture.
        right: (M,) bool, which of these rows are rightly labeled.
        wrong: (M,) bool, wrongly labeled.
    """
    mixture, known = fit.mixture, right | wrong
    found = {
        "low_mean": float(mixture.means[0]),
        "high_mean": float(mixture.means[1]),
        "low_weight": float(mixture.weights[0]),
    }
    if bool(known.any()):
        found["auroc"] = auroc(-fit.values.to(known.device)[known], right[known])
    return found


def pack_mixtures(records: Sequence[MixtureRecord]) -> list[dict[str, Any]]:
    """Records for a checkpoint, the counts of each histogram as one text, in hexadecimal: lists are read back number by number.

    >>> record = {"epoch": 3, "histogram": {"unknown": [5, 26]}, "means": [.1, .7], "variances": [.01, .02]}
    >>> record |= {"weights": [.75, .25], "converged": True, "iterations": 9}
    >>> packed = pack_mixtures([record])
    >>> packed[0]["histogram"], unpack_mixtures(packed) == [record]
    ({'unknown': '5 1a'}, True)
    """
    texts = [
        {name: " ".join(f"{count:x}" for count in counts) for name, counts in record["histogram"].items()} for record in records
    ]
    return [{**record, "histogram": text} for record, text in zip(records, texts, strict=True)]


def unpack_mixtures(packed: Sequence[Mapping[str, Any]]) -> list[MixtureRecord]:
    """The inverse of `pack_mixtures`; unpacked records from older checkpoints are returned unchanged."""
    found: list[Any] = []
    for record in packed:
        histogram = {
            name: [int(count, 16) for count in counts.split()] if isinstance(counts, str) else counts
            for name, counts in record["histogram"].items()
        }
        found.append({**record, "histogram": histogram})
    return found
