"""CROWDLAB: labels of several annotators and the probabilities of a model, weighed against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylab.crowd.annotations import Annotations, Array
from noisylab.crowd.consensus import majority_vote

__all__ = ["CrowdLab", "crowdlab"]

_LEAST = 1e-6


@dataclass(frozen=True)
class CrowdLab:
    """What annotators and a model say together.

    Args:
        label: (N,) int64, the consensus.
        probs: (N, K) float64, how likely each class is.
        quality: (N,) float64, how likely the consensus is right.
        annotator_quality: (M,) float64; NaN for an annotator without an item that somebody else labeled, too.
        annotator_weight: (M,) float64, and
        model_weight: how much each label and the model count for.
        agreement: (M,) float64, of each annotator with the others.
    """

    label: Array
    probs: Array
    quality: Array
    annotator_quality: Array
    annotator_weight: Array
    model_weight: float
    agreement: Array


def crowdlab(labels: Annotations | Any, probs: Any, seed: int = 0) -> CrowdLab:
    """A consensus of annotators and a model, and how likely it is right, by CROWDLAB.

    The estimate for an item is a mean of the model's probabilities and of a distribution for each of its labels, weighted by how
    much better than the most common class the model and each annotator are. It starts from the majority vote and is made once
    more from the consensus of the first time. The result is that of cleanlab 2.9 with its default arguments.

    **Paper**: Goh, Tkachenko and Mueller, CROWDLAB: Supervised learning to infer consensus labels and quality scores for data
    with multiple annotators, NeurIPS 2022 Human in the Loop Learning Workshop.

    Args:
        labels: `Annotations`, or the (N, M) matrix that `Annotations.of_matrix` takes; every item needs a label.
        probs: (N, K) probabilities of a model that never saw the labels of the item: those that
            ``noisylab issues --crossfit 5`` writes, for example.
            A model that was trained on the item outweighs the annotators.
        seed: of ties that nothing else breaks.

    Raises:
        ValueError: for labels without annotators, items without a label, or probabilities of another shape.

    Example:
        >>> result = crowdlab([[0, 0], [1, 0], [1, 1], [1, 1]], [[0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.4, 0.6]])
        >>> result.label.tolist()
        [0, 1, 1, 1]
    """
    p = np.asarray(probs, dtype=np.float64)
    given = labels if isinstance(labels, Annotations) else Annotations.of_matrix(labels, p.shape[1] if p.ndim == 2 else None)
    shape = (given.num_items, given.num_classes)
    if p.shape != shape or given.num_classes < 2:
        raise ValueError(f"probs must have shape {shape}, a row for each item and a column for each class, got {p.shape}")
    if not np.isfinite(p).all():
        raise ValueError("probs has numbers that are nan or infinite; give probabilities for every item")
    if not given.num_annotators:
        raise ValueError(
            "CROWDLAB needs to know who gave which label, and these labels are counts or anonymous columns; use a vote"
        )
    without = np.flatnonzero(given.per_item() == 0)
    if len(without):
        raise ValueError(f"{len(without)} items have no label, {given.items[without[0]]} first; leave them out")
    vote = majority_vote(given, p, seed).label
    if given.per_item().max() == 1:  # nothing to compare annotators by: the model's own probabilities
        quality = p[np.arange(len(p)), vote]
        own: Array = np.bincount(given.annotator, weights=quality[given.item], minlength=given.num_annotators)
        own = own / np.maximum(given.per_annotator(), 1)
        unknown = np.full(given.num_annotators, np.nan)
        return CrowdLab(vote, p, quality, own, np.zeros(given.num_annotators), 1.0, unknown)
    first = _estimate(given, p, vote)[0]
    largest = first == first.max(1, keepdims=True)
    label = np.where(largest.sum(1) == 1, first.argmax(1), vote)
    posterior, weights, model, agreement = _estimate(given, p, label)
    return CrowdLab(
        label=label,
        probs=posterior,
        quality=posterior[np.arange(len(p)), label],
        annotator_quality=_quality(given, posterior, label, weights, model),
        annotator_weight=weights,
        model_weight=model,
        agreement=agreement,
    )


def _estimate(given: Annotations, p: Array, label: Array) -> tuple[Array, Array, float, Array]:
    """The probabilities of the classes, given a consensus; the weights of annotators and model; the annotators' agreement."""
    number, counts, classes = given.per_item(), given.counts(), given.num_classes
    shared = number > 1
    agree = counts[np.arange(len(label)), label] / number
    likely = agree[shared].mean()
    unlikely = (1 - likely) / (classes - 1)
    consensus = label[shared]
    baseline = max(float((consensus != np.bincount(consensus, minlength=classes).argmax()).mean()), _LEAST)
    agreement = _agreement(given, counts, number)
    weights = np.maximum(1 - (1 - agreement) / baseline, _LEAST)
    wrong = float((p[shared].argmax(1) != consensus).mean())
    model = max(1 - wrong / baseline, _LEAST) * float(np.sqrt(number.mean()))
    each = weights[given.annotator]
    total = np.bincount(given.item, weights=each, minlength=len(p))
    flat = given.item * classes + given.label
    named = np.bincount(flat, weights=each, minlength=p.size).reshape(p.shape)
    posterior = (model * p + named * likely + (total[:, None] - named) * unlikely) / (model + total)[:, None]
    return posterior, weights, model, agreement


def _agreement(given: Annotations, counts: Array, number: Array) -> Array:
    """(M,) how often the labels of each annotator are those of others for the same item; the mean where nothing is shared."""
    others = number[given.item] - 1
    same = counts[given.item, given.label] - 1
    shared = np.bincount(given.annotator, weights=others, minlength=given.num_annotators)
    agreed = np.bincount(given.annotator, weights=same, minlength=given.num_annotators)
    known = shared > 0
    rate = agreed / np.maximum(shared, 1)
    rate[~known] = rate[known].mean()
    return rate


def _quality(given: Annotations, posterior: Array, label: Array, weights: Array, model: float) -> Array:
    """(M,) of each annotator, the model's opinion of the labels and their agreement with the consensus."""
    people, number = given.num_annotators, given.per_item()
    own: Array = np.bincount(given.annotator, weights=posterior[given.item, given.label], minlength=people)
    own = own / np.maximum(given.per_annotator(), 1)
    shared = number[given.item] > 1
    seen = np.bincount(given.annotator[shared], minlength=people)
    right = np.bincount(given.annotator[shared & (given.label == label[given.item])], minlength=people)
    agree = np.where(seen > 0, right / np.maximum(seen, 1), np.nan)
    share = model / (model + weights.sum() * number.mean() / people)
    return share * own + (1 - share) * agree
