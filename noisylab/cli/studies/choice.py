"""Which method was chosen without clean labels, why, how sure that is, and which rows to check to be surer."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from noisylab.cli.studies.halving import Candidate
from noisylab.files import atomic_path
from noisylab.metrics.noisy_validation import clean_accuracy, noisy_slope
from noisylab.metrics.row_checks import rows_to_check
from noisylab.reports.paired_rows import HeldOutRows, RowDifference, compare_rows

__all__ = [
    "CHECK_FILE",
    "Choice",
    "NoiseGuess",
    "Standing",
    "decide",
    "difference_error",
    "is_level",
    "record_of",
    "standard_error",
    "write_rows_to_check",
]

CHECK_FILE = "to_check.csv"
"""The file with the rows that tell the finalists apart."""

_NEARLY_ALL = 0.999  # of the labels

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class NoiseGuess:
    """An estimate of the share of wrong labels, and what it means for accuracies if wrong labels are any other class alike: see
    `noisylab.metrics.noisy_validation`.

    Args:
        rate: of wrong labels.
        bounds: that contained it in measured settings.
        classes: K.
        paired_in: methods whose ranked lists look as if classes were confused in pairs, so that the noise is not symmetric.
    """

    rate: float
    bounds: tuple[float, float]
    classes: int
    paired_in: tuple[str, ...] = ()

    @property
    def slope(self) -> float:
        """Points of accuracy on given labels for a point of true accuracy."""
        return noisy_slope(min(self.rate, _NEARLY_ALL), self.classes)

    @property
    def usable(self) -> bool:
        """Whether accuracies can be converted: at a slope near 0 they say nothing."""
        return self.slope > 0.05

    def clean(self, accuracy: float) -> float:
        """The true accuracy of one on given labels; above 1 where that was lucky, or fewer labels are wrong."""
        return clean_accuracy(accuracy, 1, self.rate, self.classes).clean


@dataclass(frozen=True)
class Standing:
    """A method at a rung.

    Args:
        method: its name.
        epochs: it has trained by then.
        accuracy: on the given labels of the held-out rows.
        goes_on: whether it is among the better part.
    """

    method: str
    epochs: int
    accuracy: float
    goes_on: bool


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        method: the chosen one.
        best: the one with the highest accuracy, which is another where two are level.
        other: what it was compared with; None where there was none.
        pair: `best` against `other` or, where those are the same, against `method`; None without another.
        sure: "clear" where the interval leaves 0 out, "likely" where it does not, "level" where the difference is less than its
            standard error, "alone" without another.
        disagree: (D,) places, among the held-out rows, where the two finalists predict different classes.
        checks: rows among them that have to be checked to tell the finalists apart, if the lead is what it seems; None unless
            that can be said.
    """

    method: str
    best: str
    other: str | None
    pair: RowDifference | None
    sure: Literal["clear", "likely", "level", "alone"]
    disagree: Ints
    checks: int | None

    @property
    def finalists(self) -> tuple[str, ...]:
        """The best one and, where there is one, the other."""
        second = self.other if self.best == self.method else self.method
        return (self.best,) if second is None else (self.best, second)


def decide(
    order: Sequence[str], found: Mapping[str, HeldOutRows], candidates: Sequence[Candidate], noise: NoiseGuess | None
) -> Choice:
    """Choose between the best two: the better, unless they are level; then the cheaper.

    Level is a difference below its own standard error, as in the one-standard-error rule (Breiman, Friedman, Olshen and Stone,
    Classification and Regression Trees, 1984), here that of the paired difference.

    Args:
        order: names, best first, of methods whose run is complete.
        found: what they predicted, by name.
        candidates: with the costs.
        noise: an estimate, to count rows that have to be checked; None for none.

    Raises:
        ValueError: if their held-out rows are not the same.
    """
    best = order[0]
    if len(order) == 1:
        return Choice(best, best, None, None, "alone", np.zeros(0, dtype=np.int64), None)
    second = order[1]
    ours, theirs = found[best], found[second]
    pair = compare_rows(ours, theirs)
    costs = {each.name: each.cost for each in candidates}
    level = is_level(pair)
    chosen = second if level and costs[second] < costs[best] else best
    disagree = np.flatnonzero(ours.predicted != theirs.predicted)
    checks = None
    if noise is not None and noise.usable and len(disagree) and pair.difference:
        checks = rows_to_check(min(pair.difference * pair.rows / noise.slope / len(disagree), 1.0))
    sure: Literal["clear", "likely", "level"] = "level" if level else "clear" if pair.interval[0] > 0 else "likely"
    return Choice(chosen, best, second if chosen == best else best, pair, sure, disagree, checks)


def write_rows_to_check(
    folder: Path,
    choice: Choice,
    found: Mapping[str, HeldOutRows],
    classes: Sequence[str],
    names: Sequence[str] | None,
    called: str,
    seed: int = 0,
) -> None:
    """Write the rows on which the finalists disagree, in random order: the first n of them are a fair sample of all.

    Args:
        folder: in which the file goes.
        choice: with two finalists.
        found: what they predicted.
        classes: names of the classes.
        names: of the rows of the original training set; None for none.
        called: what these names are, "file" or "id".
        seed: of the order.
    """
    rows = np.random.default_rng(seed).permutation(choice.disagree)
    first, second = (found[name] for name in choice.finalists)
    with atomic_path(folder / CHECK_FILE) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        # which method says what is not shown: who checks should not know
        writer.writerow(["index", *([called] if names is not None else []), "given", "one_says", "other_says", "true"])
        for place in rows.tolist():
            row = int(first.index[place])
            said = sorted({int(first.predicted[place]), int(second.predicted[place])})
            words = [classes[label] for label in (int(first.given[place]), *said)]
            writer.writerow([row, *([names[row]] if names is not None else []), *words, ""])


def record_of(
    choice: Choice, noise: NoiseGuess | None, rungs: Sequence[Sequence[Standing]], shares: Sequence[float], rows: int
) -> Any:
    """The choice as plain values, for ``auto.json``; accuracies are fractions.

    Args:
        choice: what was chosen.
        noise: an estimate.
        rungs: standings of each rung.
        shares: of the runs at each rung.
        rows: held out.
    """
    pair = choice.pair
    return {
        "chosen": choice.method,
        "best": choice.best,
        "other": choice.other,
        "sure": choice.sure,
        "held_out_rows": rows,
        "noise": noise
        and {
            "rate": noise.rate,
            "bounds": list(noise.bounds),
            "slope": noise.slope,
            "classes": noise.classes,
            "as_if": "symmetric",
            "looks_paired_in": list(noise.paired_in),
        },
        "rungs": [
            {"share": share, "standings": [_standing(each, noise, rows) for each in standings]}
            for share, standings in zip(shares, rungs, strict=True)
        ],
        "pair": pair
        and {
            "first": choice.finalists[0],
            "second": choice.finalists[1],
            "first_only": pair.first_only,
            "second_only": pair.second_only,
            "difference": pair.difference,
            "standard_error": difference_error(pair),
            "interval": list(pair.interval),
            "level": pair.level,
            "mcnemar_p": pair.p_value,
        },
        "disagree": len(choice.disagree),
        "checks_needed": choice.checks,
    }


def _standing(each: Standing, noise: NoiseGuess | None, rows: int) -> dict[str, Any]:
    error = standard_error(each.accuracy, rows)
    usable = noise is not None and noise.usable
    return {
        "method": each.method,
        "epochs": each.epochs,
        "accuracy": each.accuracy,
        "standard_error": error,
        "clean": noise.clean(each.accuracy) if noise is not None and usable else None,
        "clean_standard_error": error / noise.slope if noise is not None and usable else None,
        "goes_on": each.goes_on,
    }


def is_level(pair: RowDifference) -> bool:
    """Whether a difference is nothing, or less than its standard error: too little to prefer either."""
    return not pair.difference or abs(pair.difference) < difference_error(pair)


def difference_error(pair: RowDifference) -> float:
    """The standard error of a paired difference, over rows.

    >>> difference_error(RowDifference(100, 30, 10, 0.95, (0.0, 0.0), 1.0))
    0.06
    """
    variance = (pair.first_only + pair.second_only) / pair.rows - pair.difference**2
    return round(math.sqrt(max(variance, 0.0) / pair.rows), 12)


def standard_error(accuracy: float, rows: int) -> float:
    """The standard error of an accuracy over so many rows.

    >>> round(standard_error(0.544444, 5000), 6)
    0.007043
    """
    return math.sqrt(accuracy * (1 - accuracy) / rows)
