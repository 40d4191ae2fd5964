"""What a user of cleanlab gets: cross-validated probabilities of a plain network, ranked and flagged by cleanlab.

The network is trained by cross-entropy with Adam, once a fold, stratified by the given labels; its probabilities of the fold that
is held out are kept for every epoch. So the last epoch, and the epoch with the best accuracy on the held-out given labels, which
is what can be tuned without the truth, come from one training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "LAST",
    "LOGISTIC",
    "TUNED",
    "Found",
    "Seconds",
    "cleanlab_version",
    "fold_probs",
    "judge",
    "logistic_findings",
    "network_findings",
]

Array: TypeAlias = NDArray[Any]

LAST, TUNED = "cleanlab, last epoch", "cleanlab, epoch by held-out accuracy"
LOGISTIC = "cleanlab, logistic regression, C by held-out accuracy"
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # C of the logistic regression
BATCH, RATE = 128, 1e-3  # of Adam


@dataclass(frozen=True)
class Seconds:
    """What something took, on the clock of the wall and of the process."""

    wall: float
    process: float

    @classmethod
    def now(cls) -> Seconds:
        """Both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self) -> Seconds:
        """What has passed."""
        now = Seconds.now()
        return Seconds(now.wall - self.wall, now.process - self.process)


@dataclass(frozen=True)
class Found:
    """What a detector says of N labels.

    Args:
        score: (N,) larger for labels more surely wrong.
        is_issue: (N,) whether the label is flagged.
        suggested: (N,) class offered instead.
        seconds: what it took.
        order: (N,) rows, the most surely wrong first; `None` for that of the score.
        facts: further ones, to be written down.
    """

    score: Array
    is_issue: Array
    suggested: Array
    seconds: Seconds
    order: Array | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def folds_of(given: Array, folds: int, seed: int) -> list[tuple[Array, Array]]:
    """(rows to train on, rows held out) of each fold."""
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(given)), given))


def fold_probs(x: Tensor, given: Array, network: Callable[[int], nn.Module], epochs: int, folds: int, seed: int) -> Array:
    """(E, N, K) float32, the probabilities of each sample after each epoch of the network that has not seen it.

    Args:
        x: (N, ...) float32 inputs.
        given: (N,) labels to train on, 0..K-1.
        network: makes a network for K classes.
        epochs: E.
        folds: trainings.
        seed: of folds, networks and order of the rows.
    """
    target, classes = torch.from_numpy(given), int(given.max()) + 1
    probs = np.full((epochs, len(given), classes), np.nan, dtype=np.float32)
    for fold, (train, held) in enumerate(folds_of(given, folds, seed)):
        torch.manual_seed(1000 * seed + fold)
        model = network(classes)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        rows, unseen = torch.from_numpy(train), x[torch.from_numpy(held)]
        for epoch in range(epochs):
            model.train()
            for batch in rows[torch.randperm(len(rows))].split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), target[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                logits = torch.cat([model(part) for part in unseen.split(1000)])
            probs[epoch, held] = logits.softmax(1).numpy()
    return probs


def judge(given: Array, probs: Array, seconds: Seconds, **facts: Any) -> Found:
    """cleanlab's ranking by self-confidence, its flags (``prune_by_noise_rate``), and the most probable class.

    Args:
        given: (N,) labels.
        probs: (N, K) out of sample.
        seconds: what the probabilities took; those of cleanlab are added.
        **facts: see `Found`.

    Raises:
        SystemExit: without cleanlab.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}; pip install noisylab[cleanlab], or take --sides noisylab") from error
    start = Seconds.now()
    quality = get_label_quality_scores(given, probs, method="self_confidence")
    # one process: what several would take is not counted in the seconds of this one
    flags = find_label_issues(given, probs, filter_by="prune_by_noise_rate", n_jobs=1)
    took = start.since()
    total = Seconds(seconds.wall + took.wall, seconds.process + took.process)
    return Found(1.0 - quality, flags, probs.argmax(1), total, facts=facts)


def cleanlab_version() -> str:
    """That is installed, or that none is."""
    try:
        return metadata.version("cleanlab")
    except metadata.PackageNotFoundError:
        return "not installed"


def network_findings(
    x: Tensor, given: Array, network: Callable[[int], nn.Module], epochs: int, folds: int, seed: int
) -> dict[str, Found]:
    """cleanlab on a network's probabilities after the last and after the best epoch; see `fold_probs`.

    The seconds are those of all folds, with the probabilities of every epoch, which tuning the epoch needs.
    """
    start = Seconds.now()
    probs = fold_probs(x, given, network, epochs, folds, seed)
    accuracy = (probs.argmax(2) == given).mean(1)
    took, best = start.since(), int(accuracy.argmax())
    chosen = {LAST: epochs - 1, TUNED: best}
    return {
        name: judge(given, probs[at], took, epoch=at + 1, held_out_accuracy=float(accuracy[at])) for name, at in chosen.items()
    }


def logistic_findings(x: Tensor, given: Array, folds: int, seed: int, strengths: Sequence[float] = STRENGTHS) -> dict[str, Found]:
    """cleanlab on logistic regression of the inputs, its C chosen by the accuracy on the held-out given labels."""
    start, rows = Seconds.now(), x.flatten(1).numpy()
    probs = np.zeros((len(strengths), len(given), int(given.max()) + 1))
    for train, held in folds_of(given, folds, seed):
        for place, strength in enumerate(strengths):
            model = LogisticRegression(C=strength, max_iter=100).fit(rows[train], given[train])
            probs[place, held] = model.predict_proba(rows[held])
    accuracy = (probs.argmax(2) == given).mean(1)
    took, best = start.since(), int(accuracy.argmax())
    return {LOGISTIC: judge(given, probs[best], took, C=strengths[best], held_out_accuracy=float(accuracy[best]))}
