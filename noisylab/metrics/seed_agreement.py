"""Whether runs of different seeds give the same answers on held-out rows, and what that says of their accuracy."""

from __future__ import annotations

import itertools
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisylab.metrics.noisy_validation import accuracy_from_agreement
from noisylab.reading import check_arrays

__all__ = ["SeedAgreement", "agreement_of_runs", "seed_agreement"]

_NAMES = ("index", "given", "pred")
_FEW = 0.5  # of the classes among the labels: fewer among the predictions mean a collapsed network


@dataclass(frozen=True)
class SeedAgreement:
    """How far several runs agree on the same rows.

    Args:
        num: rows.
        pairs: by pair of names, the share of rows for which both predict the same class.
        agreement: g, the mean over the pairs.
        by_chance: the mean share that two runs with the same histograms of predictions would agree on by chance.
        accuracy: what g implies if errors are independent and spread evenly (`accuracy_from_agreement`). Errors of networks are
            not independent, so this is an upper estimate: compare it between methods or epochs, and do not take it for an
            accuracy. NaN where g is below 1 / K, or where a network has collapsed.
        classes: by name, how many classes a run predicts, weighted: exp of the entropy of its histogram.
        labels: the same of the given labels.
        collapsed: names of runs that predict fewer than half as many classes as the labels have. Two networks that answer
            everything with one class agree fully, and on nothing.
    """

    num: int
    pairs: Mapping[tuple[str, str], float]
    agreement: float
    by_chance: float
    accuracy: float
    classes: Mapping[str, float]
    labels: Mapping[str, float]
    collapsed: tuple[str, ...]

    def __str__(self) -> str:
        """In words."""
        agree = f"{100 * self.agreement:.1f} %"
        if self.collapsed:
            each = [f"{name} predicts {self.classes[name]:.1f} of {self.labels[name]:.1f} classes" for name in self.collapsed]
            return f"{self.num} rows: the agreement of {agree} says nothing, since networks have collapsed: {', '.join(each)}"
        by = "" if math.isnan(self.accuracy) else f"; independent errors would mean an accuracy of {100 * self.accuracy:.1f} %"
        return (
            f"{self.num} rows, {len(self.classes)} runs: they agree on {agree} (by chance {100 * self.by_chance:.1f} %){by}; "
            "as errors are correlated, it is less"
        )


def seed_agreement(
    predicted: Mapping[str, NDArray[Any]], given: Mapping[str, NDArray[Any]], num_classes: int | None = None
) -> SeedAgreement:
    """Compare the predictions of several runs for the same held-out rows.

    Only rows that none of the runs has trained on say anything: on training rows runs agree again late, because they have learned
    the same wrong labels by heart.

    Args:
        predicted: by name of the run, (M,) predicted classes of the same rows; two runs or more.
        given: by name, (M,) their given labels, which may differ where the noise has the run's seed.
        num_classes: K; `None` for one more than the highest class found.

    Raises:
        ValueError: for fewer than two runs, no rows, or different numbers of them.

    >>> runs = {"seed0": np.array([0, 1, 2, 0, 1]), "seed1": np.array([0, 1, 2, 0, 2])}
    >>> found = seed_agreement(runs, {name: np.array([0, 1, 2, 1, 2]) for name in runs})
    >>> found.agreement, round(found.accuracy, 4), found.collapsed
    (0.8, 0.8911, ())
    """
    if len(predicted) < 2:
        raise ValueError(f"predicted must hold two runs or more, got {len(predicted)}")
    if set(given) != set(predicted):
        raise ValueError(f"given must name the runs of predicted, {sorted(predicted)}, got {sorted(given)}")
    lengths = {name: len(rows) for group in (predicted, given) for name, rows in group.items()}
    lengths |= {f"{name} (given)": len(rows) for name, rows in given.items()}
    if len(set(lengths.values())) > 1 or not next(iter(lengths.values())):
        raise ValueError(f"runs must have predictions for the same rows, one or more; got {lengths}")
    K = num_classes or 1 + max(int(rows.max()) for group in (predicted, given) for rows in group.values())
    shares = {name: np.bincount(rows, minlength=K) / len(rows) for name, rows in predicted.items()}
    pairs = {(a, b): float(np.mean(predicted[a] == predicted[b])) for a, b in itertools.combinations(predicted, 2)}
    chance = statistics.fmean(float(shares[a] @ shares[b]) for a, b in pairs)
    classes = {name: _spread(share) for name, share in shares.items()}
    labels = {name: _spread(np.bincount(given[name], minlength=K) / len(given[name])) for name in predicted}
    collapsed = tuple(name for name in predicted if classes[name] < _FEW * labels[name])
    agreement = statistics.fmean(pairs.values())
    accuracy = math.nan if collapsed else accuracy_from_agreement(agreement, K)
    return SeedAgreement(len(next(iter(predicted.values()))), pairs, agreement, chance, accuracy, classes, labels, collapsed)


def agreement_of_runs(folders: Sequence[str | os.PathLike[str]], num_classes: int | None = None) -> SeedAgreement:
    """`seed_agreement` of run folders, by the ``validation.npz`` of each.

    Args:
        folders: of runs with the same held-out rows, two or more.
        num_classes: see `seed_agreement`.

    Raises:
        FileNotFoundError: for a run without the file.
        ValueError: for runs with different held-out rows.
    """
    predicted: dict[str, NDArray[Any]] = {}
    given: dict[str, NDArray[Any]] = {}
    first: NDArray[Any] | None = None
    for folder in folders:
        path = Path(folder) / "validation.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; a run with held-out rows (data.val_fraction) writes it at its end")
        check_arrays(path, _NAMES)
        with np.load(path, allow_pickle=False) as file:
            index, labels, pred = (file[name] for name in _NAMES)
        first = index if first is None else first
        if not np.array_equal(first, index):
            raise ValueError(
                f"{path} is about other rows than the first run; compare runs with the same data.val_fraction and split_seed"
            )
        predicted[str(folder)], given[str(folder)] = pred, labels
    return seed_agreement(predicted, given, num_classes)


def _spread(shares: NDArray[Any]) -> float:
    """How many classes a histogram is spread over: exp of its entropy."""
    there = shares[shares > 0]
    return float(np.exp(-(there * np.log(there)).sum()))
