"""Dawid-Skene: true classes and the annotators' confusion matrices, estimated together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from noisylab.crowd.annotations import Annotations, Array
from noisylab.crowd.consensus import Consensus, majority_vote

__all__ = ["dawid_skene", "expectation_maximization"]

_FEW = 10  # labels a class below which an annotator's whole matrix is hardly known


class _Round(NamedTuple):
    """What one round of the estimation ends with.

    Args:
        probs: (R, K), how likely each class of each item is.
        prior: (K,) shares of the classes, and
        confusion: (M, K, K), rows true, both estimated from the probabilities before.
        log_likelihood: of the labels under these two.
    """

    probs: Array
    prior: Array
    confusion: Array
    log_likelihood: float


def dawid_skene(
    annotations: Annotations,
    smoothing: float = 0.01,
    one_coin: bool = False,
    rounds: int = 100,
    gain: float = 1e-6,
    diagonal: float = 0.0,
) -> Consensus:
    """The model of Dawid and Skene: each annotator has a confusion matrix of its own.

    Starting from the shares of the labels, each round estimates the shares of the classes ``pi_a`` and the matrices
    ``C_j[a, b] = (s + sum of q_i[a] over items i that j called b) / row sum`` from the probabilities q, then the probabilities
    ``q_i[a]``, in proportion to ``pi_a`` times the product of ``C_j[a, L_ij]`` over the annotators of item i. It ends when a
    round adds less than `gain` to the log-likelihood of an item. All in float64, probabilities as logarithms.

    The model does not tell annotators apart who share no items, and with a single label an item it says nothing beyond the
    labels, which are then returned as they are, with a note.

    **Paper**: Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied Statistics
    28(1), 1979.

    Args:
        annotations: the labels, and who gave them.
        smoothing: s, 0 or more; with 0, a class that was once impossible for an item stays so.
        one_coin: one accuracy for each annotator instead of a matrix, wrong labels alike: for annotators with few labels.
        rounds: at most so many.
        gain: of the log-likelihood, in nats an item, below which a round is the last.
        diagonal: added to `smoothing` on the diagonal of the matrices, 0 or more: annotators with few labels are taken for right
            ones.

    Raises:
        ValueError: where nobody knows who gave which label, no item has a label, or `smoothing` or `diagonal` is negative.

    Example:
        >>> dawid_skene(Annotations.of_matrix([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]])).label.tolist()
        [0, 1, 0, 1]
    """
    for name, value in (("smoothing", smoothing), ("diagonal", diagonal)):
        if not value >= 0:
            raise ValueError(f"{name} must be a number of 0 or more, got {value}")
    if not annotations.num_annotators:
        raise ValueError(
            "Dawid-Skene needs to know who gave which label, and these are counts or anonymous columns; use a vote or soft labels"
        )
    part, rows = annotations.labeled()
    if not len(rows):
        raise ValueError("no item has a label; check the annotations")
    if part.per_item().max() == 1:
        note = "no item has two labels, so nothing is known of the annotators; the labels stand as they are"
        vote = majority_vote(annotations)
        return replace(vote, method="one_coin" if one_coin else "dawid_skene", notes=(note,))
    last = -np.inf
    for done, step in enumerate(expectation_maximization(part, smoothing, one_coin, diagonal), start=1):
        if done == rounds or step.log_likelihood - last < gain * part.num_items:
            break
        last = step.log_likelihood
    probs = np.zeros((annotations.num_items, annotations.num_classes))
    probs[rows] = step.probs
    label = np.full(annotations.num_items, -1, dtype=np.int64)
    label[rows] = step.probs.argmax(1)
    known = step.confusion.sum(2, keepdims=True) > 0
    right = np.nan_to_num(np.trace(step.confusion * step.prior[None, :, None], axis1=1, axis2=2))
    return Consensus(
        method="one_coin" if one_coin else "dawid_skene",
        label=label,
        probs=probs,
        annotations=annotations,
        annotator_quality=right,
        confusion=np.where(known, step.confusion, np.nan),
        prior=step.prior,
        log_likelihood=step.log_likelihood,
        rounds=done,
        notes=tuple(_doubts(part, one_coin)),
    )


def expectation_maximization(
    annotations: Annotations, smoothing: float, one_coin: bool = False, diagonal: float = 0.0
) -> Iterator[_Round]:
    """The rounds of the estimation, without end.

    Args:
        annotations: every item has a label.
        smoothing: s.
        one_coin: see `dawid_skene`.
        diagonal: the same.
    """
    item, annotator, label = annotations.item, annotations.annotator, annotations.label
    items, people, classes = annotations.num_items, annotations.num_annotators, annotations.num_classes
    counts = annotations.counts()
    probs = counts / counts.sum(1, keepdims=True)
    while True:
        prior = probs.mean(0)
        if one_coin:
            right = np.bincount(annotator, weights=probs[item, label], minlength=people)
            accuracy = (smoothing + right) / np.maximum(2 * smoothing + annotations.per_annotator(), np.finfo(np.float64).tiny)
            confusion: Array = np.repeat((1 - accuracy) / (classes - 1), classes**2).reshape(people, classes, classes)
            confusion[:, range(classes), range(classes)] = accuracy[:, None]
        else:
            said = annotator * classes + label
            cells = [np.bincount(said, weights=probs[item, a], minlength=people * classes) for a in range(classes)]
            confusion = np.stack([cell.reshape(people, classes) for cell in cells], 1) + smoothing + diagonal * np.eye(classes)
            total = confusion.sum(2, keepdims=True)
            confusion = np.divide(confusion, total, out=np.zeros_like(confusion), where=total > 0)
        with np.errstate(divide="ignore"):  # the logarithm of 0: what is impossible stays so
            log_prior, log_confusion = np.log(prior), np.log(confusion)
        joint = np.stack(
            [
                log_prior[a] + np.bincount(item, weights=log_confusion[annotator, a, label], minlength=items)
                for a in range(classes)
            ],
            1,
        )
        largest = joint.max(1, keepdims=True)
        total = largest + np.log(np.exp(joint - largest).sum(1, keepdims=True))
        probs = np.exp(joint - total)
        yield _Round(probs, prior, confusion, float(total.sum()))


def _doubts(annotations: Annotations, one_coin: bool) -> Iterator[str]:
    """What makes the estimates doubtful."""
    counts, enough = annotations.per_annotator(), _FEW * annotations.num_classes
    few = int((counts < enough).sum())
    if few and not one_coin:
        yield (
            f"{few} of {annotations.num_annotators} annotators have fewer than {enough} labels, {_FEW} for each class, too few "
            "for a matrix of their own; one_coin estimates one number for each"
        )
    groups = _groups(annotations)
    if groups > 1:
        yield f"the annotators fall into {groups} groups that share no items; their accuracies cannot be compared between groups"


def _groups(annotations: Annotations) -> int:
    """Groups of annotators that no item connects."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = annotations.num_items + annotations.num_annotators
    edges = (np.ones(len(annotations.item)), (annotations.item, annotations.num_items + annotations.annotator))
    _, group = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    return len(np.unique(group[annotations.item]))
