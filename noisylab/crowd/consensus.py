"""One label for each item out of several: what every way of aggregation returns, and the majority vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylab.crowd.annotations import Annotations, Array

__all__ = ["Consensus", "agreement_with", "majority_vote", "soft_labels"]


@dataclass(frozen=True)
class Consensus:
    """What several annotators say together.

    Args:
        method: "vote", "soft", "dawid_skene", "one_coin" or "crowdlab".
        label: (N,) int64, the class of each item; -1 for items without a label.
        probs: (N, K) float64, how likely each class is; 0 in rows of items without a label.
        annotations: the labels.
        annotator_quality: (M,) float64 in [0, 1], how far each annotator can be trusted: the estimated accuracy or, for a vote,
            the agreement with the consensus; empty where nobody knows who gave which label.
        confusion: (M, K, K) float64, P(annotator says column | true class is row), NaN where nothing is known of a row; `None`
            where nobody knows who gave which label.
        prior: (K,) float64, estimated shares of the classes; `None` for a vote.
        log_likelihood: of the labels under the model, in nats; `None` for a vote.
        rounds: of the estimation; 0 for a vote.
        notes: what a reader should know of the figures, a sentence each.
    """

    method: str
    label: Array
    probs: Array
    annotations: Annotations
    annotator_quality: Array
    confusion: Array | None
    prior: Array | None = None
    log_likelihood: float | None = None
    rounds: int = 0
    notes: tuple[str, ...] = ()

    @property
    def quality(self) -> Array:
        """(N,) float64: how likely the label of each item is; NaN for items without one."""
        own = np.take_along_axis(self.probs, np.maximum(self.label, 0)[:, None], 1)[:, 0]
        return np.where(self.label >= 0, own, np.nan)


def soft_labels(annotations: Annotations) -> Array:
    """(N, K) float64: the share of each class among the labels of each item; 0 in rows of items without a label."""
    counts = annotations.counts()
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def majority_vote(annotations: Annotations, probs: Any = None, seed: int = 0) -> Consensus:
    """The most frequent label of each item.

    Ties are broken in this order, which is that of cleanlab: the class that a model finds most likely, if its probabilities are
    given; the class that is rarer among all labels; the class whose annotators agree more with the consensus of the items without
    a tie; at random.

    Args:
        annotations: the labels.
        probs: (N, K) probabilities of a model, or `None`.
        seed: of the last resort.

    Example:
        >>> majority_vote(Annotations.of_matrix([[0, 0, 1], [1, -1, 1]])).label.tolist()
        [0, 1]
    """
    counts = annotations.counts()
    best = counts == counts.max(1, keepdims=True)
    label = np.where(counts.sum(1) > 0, best.argmax(1), -1)
    tied = np.flatnonzero((best.sum(1) > 1) & (label >= 0))
    if len(tied):
        open_places = best[tied]
        if probs is not None:
            open_places = _most(open_places, np.asarray(probs)[tied])
        open_places = _most(open_places, -np.broadcast_to(counts.sum(0), open_places.shape))
        undecided = open_places.sum(1) > 1
        if annotations.num_annotators and undecided.any():
            untied = np.ones(len(label), dtype=bool)
            untied[tied] = False
            rest = tied[undecided]
            open_places[undecided] = _most(open_places[undecided], _voters_quality(annotations, label, untied)[rest])
        random = np.random.default_rng(seed)
        draw = np.where(open_places, random.random(open_places.shape), -1.0)
        label[tied] = draw.argmax(1)
    quality, confusion = agreement_with(annotations, label)
    return Consensus("vote", label, soft_labels(annotations), annotations, quality, confusion)


def agreement_with(annotations: Annotations, label: Array) -> tuple[Array, Array | None]:
    """How often each annotator says what the consensus says: (M,), and (M, K, K) by its class, NaN for classes without an item.

    Args:
        annotations: the labels.
        label: (N,) int64, the consensus.
    """
    people, classes = annotations.num_annotators, annotations.num_classes
    if not people:
        return np.zeros(0), None
    flat = (annotations.annotator * classes + label[annotations.item]) * classes + annotations.label
    table = np.bincount(flat, minlength=people * classes**2).reshape(people, classes, classes).astype(np.float64)
    total = table.sum(2, keepdims=True)
    confusion = np.where(total > 0, table / np.maximum(total, 1), np.nan)
    return np.trace(table, axis1=1, axis2=2) / np.maximum(table.sum((1, 2)), 1), confusion


def _most(places: Array, value: Array) -> Array:
    """Those of the places (R, K), True or False, at which a value (R, K) is largest in its row."""
    among = np.where(places, value, -np.inf)
    found: Array = places & (among == among.max(1, keepdims=True))
    return found


def _voters_quality(annotations: Annotations, label: Array, untied: Array) -> Array:
    """(N, K): mean agreement with the consensus of untied items, of the annotators who gave an item a class; 0 for none."""
    counted = untied[annotations.item]
    right = (annotations.label == label[annotations.item]) & counted
    people, size = annotations.num_annotators, annotations.num_items * annotations.num_classes
    seen = np.bincount(annotations.annotator[counted], minlength=people)
    agreed = np.bincount(annotations.annotator[right], minlength=people)
    known = seen > 0
    rate = agreed / np.maximum(seen, 1)
    rate[~known] = rate[known].mean() if known.any() else 0.0
    flat = annotations.item * annotations.num_classes + annotations.label
    total = np.bincount(flat, weights=rate[annotations.annotator], minlength=size)
    votes = np.bincount(flat, minlength=size)
    return (total / np.maximum(votes, 1)).reshape(annotations.num_items, annotations.num_classes)
