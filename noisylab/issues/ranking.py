"""Ranks labels by how wrong they look, from the predictions made during training.

The score of a row compares the given label with the best other class, by the probabilities that the network gave them on average
over all epochs: ``score = o / (o + p)``, p the mean probability of the given label and o the largest of another class. Wrong
labels are learned late, so they keep small averages even when the last epoch has memorized them; the mean over epochs ranks
better than any single epoch. A row is an issue if another class has the larger average, that is, if the score is above one half.
No threshold on losses is fitted. `docs/label_issues.md` has the measurements behind both choices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.data.base import NoisyDataModule
from noisylab.issues.table import IssueTable
from noisylab.memory.label_signals import label_signals
from noisylab.methods.base import NoisyLabelMethod

__all__ = ["estimate_rate", "rank_labels", "score_labels"]

# By how much the mean score was above and below the true share of wrong labels in any setting of docs/label_issues.md, rounded up
_TOO_HIGH, _TOO_LOW = 0.22, 0.11


def score_labels(probs: Tensor, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How likely each label is to be wrong, and what it should be.

    Args:
        probs: (M, K) mean probabilities, K at least 2.
        given: (M,) given classes.

    Returns:
        (M,) float64 scores in [0, 1], to six decimals; (M,) int64 suggested class: the best other one where that has the larger
        probability, else the given one; (M,) bool, where it is another.

    Example:
        >>> score, suggested, is_issue = score_labels(torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3]]), torch.tensor([0, 1]))
        >>> score.tolist(), suggested.tolist(), is_issue.tolist()
        ([0.333333, 0.714286], [0, 0], [False, True])
    """
    own = probs.gather(1, given[:, None]).squeeze(1)
    other, best = probs.scatter(1, given[:, None], -1.0).max(1)
    # six decimals, as in the file, so that who reads it finds the order and the flags of the scores there; one of the two
    # probabilities is the largest of the row and so above zero
    score = (other / (own + other)).double().round(decimals=6)
    is_issue = score > 0.5
    return score, torch.where(is_issue, best, given), is_issue


def rank_labels(method: NoisyLabelMethod, data: NoisyDataModule) -> IssueTable | None:
    """The training rows of a trained method, with the label most likely to be wrong first.

    The true labels are not looked at. Held-out and trusted rows are not ranked, and neither are rows that the method has never
    seen unmixed.

    Args:
        method: after or during ``fit``.
        data: what it trains on.

    Returns:
        The list; None if no row was ever observed.
    """
    rows = data.info.train_rows
    signals = label_signals(method.memory, rows)  # on the host: some devices have no float64
    seen = signals.epochs > 0
    if not bool(seen.any()):
        return None
    rows, signals = rows[seen], signals.of(seen)
    given, probs = data.given_target[rows], signals.probs
    score, suggested, is_issue = score_labels(probs, given)
    order = torch.argsort(signals.loss, descending=True, stable=True)  # of equal scores the larger loss first
    order = order[torch.argsort(score[order], descending=True, stable=True)]
    clean = method.clean_prob()
    found = {
        "mean_loss": signals.loss,
        "mean_margin": signals.margin,
        "clean_prob": None if clean is None else clean.cpu()[rows],
        "agreement": signals.agreement,
    }
    index = rows[order]
    names = data.source.names
    confidence = probs.gather(1, suggested[:, None]).squeeze(1)
    return IssueTable(
        index=index.numpy(),
        names=None if names is None else [names[row] for row in index.tolist()],
        class_names=data.info.class_names,
        given=given[order].numpy(),
        suggested=suggested[order].numpy(),
        score=score[order].numpy(),
        is_issue=is_issue[order].numpy(),
        confidence=confidence[order].double().numpy(),
        signals={name: values[order].double().numpy() for name, values in found.items() if values is not None},
        called=data.row_names,
    )


def estimate_rate(table: IssueTable) -> tuple[float, tuple[float, float]]:
    """The fraction of wrong labels, and bounds that contained the true fraction in every setting measured.

    The estimate is the mean score. How far it is off depends on how well the classes can be told apart at all, which the labels
    alone do not show: the bounds are the largest errors in measured settings, rounded up, not a confidence interval.

    Args:
        table: of at least one row.
    """
    rate = float(table.score.mean())
    return rate, (max(rate - _TOO_HIGH, 0.0), min(rate + _TOO_LOW, 1.0))
