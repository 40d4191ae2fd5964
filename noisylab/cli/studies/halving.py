"""Successive halving: how long each method trains before the better part of them goes on. Imports nothing slow.

K. Jamieson and A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Candidate", "Rung", "ladder", "starts_after", "survivors"]

_MARGIN = 0.1  # share of a run that a method is given after its warm-up before it is judged
_LATEST = 0.9  # share of the run; where the first rung would lie later than this, nothing is saved by one


@dataclass(frozen=True)
class Candidate:
    """A method that may be chosen.

    Args:
        name: of the method.
        epochs: of its whole run.
        warmup: epochs before it does what distinguishes it; see `starts_after`.
        cost: of an epoch after that, in epochs of cross-entropy: among equals the cheaper is taken.
    """

    name: str
    epochs: int
    warmup: int
    cost: float

    @property
    def earliest(self) -> float:
        """The share of its run before which it is not judged."""
        return min((self.warmup + max(math.ceil(_MARGIN * self.epochs), 1)) / self.epochs, 1.0) if self.warmup else 0.0


@dataclass(frozen=True)
class Rung:
    """A place at which methods are compared.

    Args:
        share: of its whole run that each method has trained, in (0, 1].
        epochs: the epochs of each candidate by then, by name.
        keep: how many go on.
    """

    share: float
    epochs: Mapping[str, int]
    keep: int


def starts_after(model: Mapping[str, Any]) -> int:
    """Epochs after which a method does what distinguishes it from plain training, as far as its arguments say so.

    That is the end of a warm-up on all labels (DivideMix, ACT, Forward and others), of the stage that trains the first network
    (DMI, T-Revision, joint optimization), of the ramp of a forget rate (Co-teaching), or the first choice of truncated GCE.
    Before it, such methods are cross-entropy by other names, and whoever ranks them there ranks chance.

    Args:
        model: {class_path, init_args}.

    >>> starts_after({"class_path": "DivideMix", "init_args": {"warmup_epochs": 5, "rampup_epochs": 3}})
    5
    """
    arguments = model.get("init_args") or {}
    loss = arguments.get("loss")
    of_loss = (loss.get("init_args") or {}) if isinstance(loss, Mapping) else {}
    stages = _whole(arguments.get("estimate_epochs")) + _whole(arguments.get("reweight_epochs"))
    single = ("warmup_epochs", "ramp_epochs", "pretrain_epochs", "relabel_epochs")
    return max(stages, _whole(of_loss.get("first")), *(_whole(arguments.get(name)) for name in single))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def ladder(candidates: Sequence[Candidate], eta: int = 2) -> tuple[Rung, ...]:
    """The rungs of a race: of n methods, the best n/eta go on at each, until two run to their end and one of them is chosen.

    All candidates are compared at the same share of their runs, which where all runs cost the same is the same compute. The first
    share is eta to the power of minus the number of further rungs, as usual, but never before each method has done a tenth of its
    run after its warm-up; the others lie between it and the end at equal ratios. Where the first would come within the last
    tenth, all methods run to their end.

    Args:
        candidates: at least one.
        eta: at least 2.

    Raises:
        ValueError: for no candidates, or a smaller eta.

    >>> [(round(rung.share, 2), rung.keep) for rung in ladder([Candidate(str(n), 40, 0, 1.0) for n in range(6)])]
    [(0.25, 3), (0.5, 2), (1.0, 1)]
    """
    if not candidates or eta < 2:
        raise ValueError(f"a race needs candidates and an eta of 2 or more, got {len(candidates)} and {eta}")
    keeps, left = [], len(candidates)
    while left > 2:
        left = max(math.ceil(left / eta), 2)
        keeps.append(left)
    first = max(float(eta) ** -len(keeps), *(candidate.earliest for candidate in candidates))
    if first > _LATEST:
        keeps = []
    shares = [first ** ((len(keeps) - number) / len(keeps)) for number in range(len(keeps))]
    places = [*zip(shares, keeps, strict=True), (1.0, 1)]
    return tuple(Rung(share, {each.name: _epochs_at(each, share) for each in candidates}, keep) for share, keep in places)


def _epochs_at(candidate: Candidate, share: float) -> int:
    return min(max(math.ceil(share * candidate.epochs - 1e-9), 1), candidate.epochs)


def survivors(accuracies: Mapping[str, float], keep: int, candidates: Sequence[Candidate]) -> list[str]:
    """The `keep` methods with the highest accuracies, best first; of equals the cheaper, then the first of the candidates.

    Args:
        accuracies: by name; a method without one, which has failed, or with NaN is out.
        keep: how many.
        candidates: with costs, in their order.

    >>> three = [Candidate("a", 9, 0, 2.0), Candidate("b", 9, 0, 1.0), Candidate("c", 9, 0, 1.0)]
    >>> survivors({"a": 0.5, "b": 0.7, "c": 0.5}, 2, three)
    ['b', 'c']
    """
    known = [each for each in candidates if not math.isnan(accuracies.get(each.name, math.nan))]
    return [each.name for each in sorted(known, key=lambda each: (-accuracies[each.name], each.cost))][:keep]
