"""Accuracy against noisy labels, and what it says of the accuracy against true ones.

Held-out labels are as noisy as the others. With a the clean accuracy of a classifier, K classes and symmetric noise of rate r
that never draws the own class, its expected accuracy against noisy labels is ``(1 - r) a + r (1 - a) / (K - 1)``: a line in a
with slope ``1 - r K / (K - 1)``, which is positive iff r < (K - 1) / K. Any two classifiers are then ranked alike by both, but
for the sampling error. Under class-conditional noise whose matrix T has its largest entry of each row on the diagonal, the best
of ALL classifiers by noisy accuracy is the best by clean accuracy (Chen et al., Robustness of Accuracy Metric and its
Inspirations in Learning with Noisy Labels, AAAI 2021, arXiv 2012.04193); of two imperfect ones the worse can be ahead, because
noisy accuracy, ``sum_ij pi_i C_ij T_ij``, weighs errors by where the noise goes. For noise that depends on the sample nothing
is guaranteed.

Choosing the epoch of the highest accuracy against held-out noisy labels: Toner and Storkey, arXiv 2409.06830.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "NoisyAccuracy",
    "RankingGuarantee",
    "accuracy_from_agreement",
    "agreement_from_accuracy",
    "clean_accuracy",
    "expected_noisy_accuracy",
    "noisy_accuracy",
    "noisy_slope",
    "ranking_guarantee",
    "unbiased_accuracy",
]


@dataclass(frozen=True)
class NoisyAccuracy:
    """An accuracy against noisy labels, and the clean accuracy that it stands for.

    Args:
        noisy: accuracy against the noisy labels, fraction.
        noisy_se: its standard error.
        clean: the clean accuracy that it stands for; an estimate can lie outside [0, 1].
        clean_se: the standard error of that: two classifiers that differ by less than about twice as much are not told apart,
            unless the difference is taken sample by sample on the same rows.
        num: n, how many labels.
    """

    noisy: float
    noisy_se: float
    clean: float
    clean_se: float
    num: int


def noisy_slope(rate: float, num_classes: int) -> float:
    """By how much the noisy accuracy rises with the clean one under symmetric noise: 1 - r K / (K - 1).

    Args:
        rate: r, the share of labels that are wrong, fraction.
        num_classes: K.

    Raises:
        ValueError: for a rate outside [0, 1) or fewer than two classes.

    >>> round(noisy_slope(0.4, 10), 6)
    0.555556
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be a fraction in [0, 1), got {rate}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    return 1 - rate * num_classes / (num_classes - 1)


def noisy_accuracy(clean: float, rate: float, num_classes: int) -> float:
    """Expected accuracy against symmetrically noisy labels of a classifier with the clean accuracy `clean`.

    Args:
        clean: a, fraction.
        rate: r, the share of labels that are wrong, fraction.
        num_classes: K.

    >>> round(noisy_accuracy(0.9, 0.4, 10), 6)
    0.544444
    """
    return rate / (num_classes - 1) + noisy_slope(rate, num_classes) * clean


def clean_accuracy(noisy: float, num: int, rate: float, num_classes: int) -> NoisyAccuracy:
    """The clean accuracy that an accuracy against symmetrically noisy labels stands for, with its standard error.

    Args:
        noisy: q, accuracy against the noisy labels, fraction.
        num: n, how many labels.
        rate: r, the share of labels that are wrong, below (K - 1) / K.
        num_classes: K.

    Returns:
        With standard errors ``sqrt(q (1 - q) / n)`` and, in clean units, that divided by the slope.

    Raises:
        ValueError: for a rate from (K - 1) / K on, at which the labels say nothing, or say the opposite; or an accuracy outside
            [0, 1] or no label.

    >>> found = clean_accuracy(0.544444, 5000, 0.4, 10)
    >>> round(found.clean, 4), round(found.noisy_se, 6), round(found.clean_se, 6)
    (0.9, 0.007043, 0.012678)
    """
    if not 0 <= noisy <= 1:
        raise ValueError(f"noisy must be an accuracy in [0, 1], got {noisy}")
    if num < 1:
        raise ValueError(f"num must be at least one label, got {num}")
    slope = noisy_slope(rate, num_classes)
    if slope <= 1e-12:
        most = (num_classes - 1) / num_classes
        raise ValueError(
            f"rate={rate}: with {num_classes} classes labels say nothing about the accuracy from {most:.4g} on; get clean labels"
        )
    error = math.sqrt(noisy * (1 - noisy) / num)
    return NoisyAccuracy(noisy, error, (noisy - rate / (num_classes - 1)) / slope, error / slope, num)


def unbiased_accuracy(pred: Tensor, given: Tensor, transition: Tensor) -> NoisyAccuracy:
    r"""The clean accuracy by a transition matrix that is trusted: unbiased under class-conditional noise, but noisier.

    The mean over samples i of ``(T^-1)[y_i, pred_i]``, y_i the given label: its expectation over the noise is 1 where the true
    class is predicted and 0 elsewhere, since ``T T^-1`` is the identity.

    Args:
        pred: (M,) int64 predicted classes.
        given: (M,) int64 given labels.
        transition: T (K, K), rows true, columns given; rows sum to one, invertible.

    Returns:
        ``clean`` is the score and ``clean_se`` its standard error, from its spread over the samples.

    Raises:
        ValueError: for a matrix that is no transition matrix or has no inverse, no samples, or labels outside of it.
    """
    matrix = transition.double()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not torch.allclose(matrix.sum(1), matrix.new_ones(len(matrix))):
        raise ValueError(
            f"transition must be square with rows that sum to one, got shape {tuple(matrix.shape)}: {matrix.tolist()}"
        )
    if len(pred) != len(given) or len(pred) == 0:
        raise ValueError(f"pred and given must be of one length, at least 1, got {len(pred)} and {len(given)}")
    for name, labels in (("pred", pred), ("given", given)):
        if bool(((labels < 0) | (labels >= len(matrix))).any()):
            raise ValueError(f"{name} must be in 0..{len(matrix) - 1}, the classes of transition; leave other rows out")
    if float(torch.linalg.cond(matrix)) > 1e12:
        raise ValueError(
            "transition has no inverse: some mixtures of classes give the same labels; merge classes or estimate it anew"
        )
    scores = torch.linalg.inv(matrix)[given, pred]
    right = (pred == given).double()
    errors = [float(values.std(correction=0)) / math.sqrt(len(values)) for values in (right, scores)]
    return NoisyAccuracy(float(right.mean()), errors[0], float(scores.mean()), errors[1], len(pred))


def expected_noisy_accuracy(confusion: Tensor, transition: Tensor, prior: Tensor | None = None) -> float:
    """The accuracy against class-conditionally noisy labels of a classifier with known confusions: sum_ij pi_i C_ij T_ij.

    Args:
        confusion: C (K, K), rows true, columns predicted; each row sums to one.
        transition: T (K, K), rows true, columns given; each row sums to one.
        prior: pi (K,), the shares of the true classes; `None` for equal ones.
    """
    pi = torch.full((len(confusion),), 1 / len(confusion), dtype=torch.float64) if prior is None else prior.double()
    return float((pi[:, None] * confusion.double() * transition.double()).sum())


@dataclass(frozen=True)
class RankingGuarantee:
    """What comparing classifiers by held-out noisy accuracy guarantees.

    Args:
        level: "any two", "the best of all" or "nothing".
        reason: in words.
    """

    level: Literal["any two", "the best of all", "nothing"]
    reason: str


def ranking_guarantee(transition: Tensor | Sequence[Sequence[float]] | None) -> RankingGuarantee:
    """Whether noisy accuracy ranks classifiers as clean accuracy does, but for the sampling error.

    Args:
        transition: (K, K) rows true, columns given, of class-conditional noise; `None` for noise that depends on the sample, or
            that nobody knows.

    Returns:
        "any two" where the same share of every class is wrong and all wrong labels are alike likely, at less than (K - 1) / K;
        "the best of all" where every row is largest on its diagonal, so that the perfect classifier scores highest, and two
        others may be in the wrong order; else "nothing".
    """
    if transition is None:
        return RankingGuarantee("nothing", "noise that depends on the sample, or is unknown, can reward a network's errors")
    matrix = torch.as_tensor(transition, dtype=torch.float64)
    K = len(matrix)
    diagonal, own = matrix.diagonal(), torch.eye(K, dtype=torch.bool)
    others = matrix.masked_fill(own, -math.inf).amax(1)
    if bool((diagonal <= others).any()):
        row = int((diagonal <= others).nonzero()[0])
        return RankingGuarantee("nothing", f"of true class {row}, another label is given at least as often as the right one")
    wrong = matrix[~own]
    if float(diagonal.max() - diagonal.min()) < 1e-9 and float(wrong.max() - wrong.min()) < 1e-9:
        return RankingGuarantee(
            "any two", f"symmetric noise: a line with slope {float(diagonal[0] - wrong[0]):.4g} in clean accuracy"
        )
    return RankingGuarantee(
        "the best of all", "the noise has directions: of two imperfect classifiers, the one that errs along with it is favored"
    )


def agreement_from_accuracy(accuracy: float, num_classes: int) -> float:
    """How often two classifiers of that accuracy agree if their errors are independent and spread evenly.

    ``g = a^2 + (1 - a)^2 / (K - 1)``.

    Args:
        accuracy: a, of both, fraction.
        num_classes: K.

    >>> [round(agreement_from_accuracy(a, 10), 6) for a in (0.6, 0.8, 0.9)]
    [0.377778, 0.644444, 0.811111]
    """
    return accuracy**2 + (1 - accuracy) ** 2 / (num_classes - 1)


def accuracy_from_agreement(agreement: float, num_classes: int) -> float:
    """The accuracy that an agreement on held-out inputs implies if errors are independent: an upper estimate, as they are not.

    ``a = (1 + sqrt(1 - K (1 - (K - 1) g))) / K``.

    Args:
        agreement: g, fraction.
        num_classes: K, at least 2.

    Returns:
        a in [1 / K, 1]; NaN for an agreement below 1 / K, which independent errors do not give.

    Raises:
        ValueError: for an agreement outside [0, 1].

    >>> [round(accuracy_from_agreement(g, 10), 4) for g in (0.377778, 0.644444, 0.811111, 1.0)]
    [0.6, 0.8, 0.9, 1.0]
    """
    if not 0 <= agreement <= 1:
        raise ValueError(f"agreement must be a fraction in [0, 1], got {agreement}")
    root = 1 - num_classes * (1 - (num_classes - 1) * agreement)
    return math.nan if root < -1e-12 else (1 + math.sqrt(max(root, 0.0))) / num_classes
