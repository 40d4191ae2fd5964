"""The robust losses as criteria that a recipe can name, with checked arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

from torch import Tensor

from noisylab.losses.cores2 import cores2_keeps, cores2_regularizer, cores2_weight
from noisylab.losses.criterion import Criterion
from noisylab.losses.f_divergence import Divergence, independent_term, joint_term
from noisylab.losses.log_probs import log_probs_of, of_given
from noisylab.losses.normalized import Active, Passive, active_passive, focal
from noisylab.losses.peer import peer_weight, shifted_cross_entropy
from noisylab.losses.robust import gce, mae, rce, sce, truncated_gce
from noisylab.losses.softened import bootstrap, gls

__all__ = [
    "CORES2",
    "GCE",
    "GLS",
    "MAE",
    "RCE",
    "SCE",
    "ActivePassive",
    "Bootstrap",
    "FDivergence",
    "Focal",
    "PeerLoss",
    "TruncatedGCE",
]

_Name = TypeVar("_Name", bound=str)


class MAE(Criterion):
    """Mean absolute error, ``2 (1 - p_y)``; see `noisylab.losses.mae`. It learns slowly with many classes.

    Args:
        form: "full", or "reduced" for half of it, ``1 - p_y``.
    """

    def __init__(self, form: Literal["full", "reduced"] = "full") -> None:
        self.form = _one_of("form", form, ("full", "reduced"))

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,) in [0, 2]."""
        return mae(logits, target, form=self.form, reduction="none")


class GCE(Criterion):
    """Generalized cross-entropy, ``(1 - p_y^q) / q`` (Zhang and Sabuncu, 2018); see `noisylab.losses.gce`.

    Args:
        q: exponent, in (0, 1].
    """

    def __init__(self, q: float = 0.7) -> None:
        self.q = _exponent(q)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,) in [0, 1 / q]."""
        return gce(logits, target, q=self.q, reduction="none")


class TruncatedGCE(Criterion):
    """GCE on the samples with ``p_y > k``, reselected every few epochs (Zhang and Sabuncu, 2018).

    The loss is ``(1 - p_y^q) / q - (1 - k^q) / q``, negative where ``p_y > k``; all samples are kept at first. Where none is kept
    the loss has no gradient until the next choice; weight decay and momentum go on. See `noisylab.losses.truncated_gce`.

    Args:
        q: exponent, in (0, 1].
        k: probability of the given label above which a sample is kept, in (0, 1).
        first: epoch before which samples are chosen for the first time, at least 1.
        every: epochs from one choice to the next, at least 1.
    """

    selection = "scoring"

    def __init__(self, q: float = 0.7, k: float = 0.5, first: int = 40, every: int = 10) -> None:
        if not 0 < k < 1:
            raise ValueError(f"k must be a probability in (0, 1), got {k}")
        for name, value in (("first", first), ("every", every)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of epochs, at least 1, got {value}")
        self.q, self.k, self.first, self.every = _exponent(q), k, first, every

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,) of samples that are kept."""
        return truncated_gce(logits, target, q=self.q, k=self.k, reduction="none")

    def scores_before(self, epoch: int) -> bool:
        """True before epoch `first` and then every `every` epochs."""
        return epoch >= self.first and (epoch - self.first) % self.every == 0

    def keeps(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B,) bool, ``p_y > k``."""
        return of_given(log_probs_of(logits), target).exp() > self.k


class RCE(Criterion):
    """Reverse cross-entropy, ``9.210340 (1 - p_y)``; see `noisylab.losses.rce`."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,), 0 or more."""
        return rce(logits, target, reduction="none")


class SCE(Criterion):
    """Symmetric cross-entropy, ``alpha CE + beta RCE`` (Wang et al., 2019); see `noisylab.losses.sce`.

    Args:
        alpha: weight of the cross-entropy, 0 or more; 6 on CIFAR-100.
        beta: weight of the reverse cross-entropy, 0 or more; 0.1 on CIFAR-100.
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        self.alpha, self.beta = _two_weights(alpha, beta)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,), 0 or more."""
        return sce(logits, target, alpha=self.alpha, beta=self.beta, reduction="none")


class ActivePassive(Criterion):
    """A normalized loss and RCE or MAE, ``alpha l(p, y) / sum_c l(p, c) + beta m(p, y)`` (Ma et al., 2020).

    The default is NCE+RCE; with ``beta=0`` it is the normalized loss alone (NCE, NFL, NGCE). See
    `noisylab.losses.active_passive`.

    Args:
        active: l: "ce", "focal" or "gce".
        passive: m: "rce", or "mae" for ``1 - p_y``.
        alpha: weight of the normalized loss, 0 or more; the authors have 1 on CIFAR-10 and MNIST, 10 on CIFAR-100.
        beta: weight of the other, 0 or more; with RCE the authors have 1 on CIFAR-10, 10 on MNIST and 0.1 on CIFAR-100.
        q: exponent of "gce", in (0, 1]; the authors have 0.1 on CIFAR-10 and MNIST, 0.7 on CIFAR-100.
        gamma: exponent of "focal", 0 or more.
        detach_factor: whether the factors ``(1 - p)^gamma`` of "focal" are constants for the gradient, as in the authors' code.
    """

    def __init__(
        self,
        active: Active = "ce",
        passive: Passive = "rce",
        alpha: float = 1.0,
        beta: float = 1.0,
        q: float = 0.1,
        gamma: float = 0.5,
        detach_factor: bool = False,
    ) -> None:
        self.active, self.passive = _one_of("active", active, get_args(Active)), _one_of("passive", passive, get_args(Passive))
        self.alpha, self.beta = _two_weights(alpha, beta)
        self.q, self.gamma, self.detach_factor = _exponent(q), _not_negative("gamma", gamma), detach_factor

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,), 0 or more."""
        return active_passive(
            logits,
            target,
            active=self.active,
            passive=self.passive,
            alpha=self.alpha,
            beta=self.beta,
            q=self.q,
            gamma=self.gamma,
            detach_factor=self.detach_factor,
            reduction="none",
        )


class Focal(Criterion):
    """Focal loss, ``-(1 - p_y)^gamma log p_y``; see `noisylab.losses.focal`. Not bounded, and so not robust by itself.

    Args:
        gamma: exponent, 0 or more; 0 is the cross-entropy. The default is that of the authors of ActivePassive on CIFAR-10.
        detach_factor: whether ``(1 - p_y)^gamma`` is a constant for the gradient, as in their code.
    """

    def __init__(self, gamma: float = 0.5, detach_factor: bool = False) -> None:
        self.gamma, self.detach_factor = _not_negative("gamma", gamma), detach_factor

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,), 0 or more."""
        return focal(logits, target, gamma=self.gamma, detach_factor=self.detach_factor, reduction="none")


class GLS(Criterion):
    """Generalized label smoothing, ``(1 - r) CE + r mean_c(-log p_c)`` (Wei et al., 2022); see `noisylab.losses.gls`.

    With a negative rate it may be negative, without bound. It is meant to follow a warm-up with cross-entropy, of 2 epochs in the
    benchmark of KlemenVovk/noisy-labels.

    Args:
        rate: r, below 1; negative for negative smoothing.
    """

    def __init__(self, rate: float = -0.2) -> None:
        if not -math.inf < rate < 1:
            raise ValueError(f"rate must be a number below 1, got {rate}")
        self.rate = rate

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,)."""
        return gls(logits, target, rate=self.rate, reduction="none")


class Bootstrap(Criterion):
    """Cross-entropy against the label mixed with the prediction (Reed et al., 2015); see `noisylab.losses.bootstrap`.

    Args:
        kind: "hard" mixes with the likeliest class, "soft" with the probabilities.
        beta: share of the given label, in [0, 1]; 0.8 for "hard" and 0.95 for "soft" if None.
        detach: whether the probabilities of "soft" have no gradient as a target.
    """

    def __init__(self, kind: Literal["hard", "soft"] = "hard", beta: float | None = None, detach: bool = True) -> None:
        self.kind = _one_of("kind", kind, ("hard", "soft"))
        self.beta = {"hard": 0.8, "soft": 0.95}[kind] if beta is None else beta
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must be a fraction in [0, 1], got {beta}")
        self.detach = detach

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Losses (B,), 0 or more."""
        return bootstrap(logits, target, kind=self.kind, beta=self.beta, detach=self.detach, reduction="none")


class PeerLoss(Criterion):
    """``CE'(x, y) - a CE'(x_r, y_s)`` with x_r and y_s of two samples drawn at random (Liu and Guo, 2020).

    ``CE' = -log(p + 1e-5)``. It may be negative, down to ``-a log 1e5``. See `noisylab.losses.peer_loss`.

    Args:
        weights: a of each epoch, counted from 0, 0 or more; the last one stays. `noisylab.losses.peer_weight` if None.
    """

    def __init__(self, weights: list[float] | None = None) -> None:
        self.weights = _weights(weights)

    def weight(self, epoch: int) -> float:
        """The weight a."""
        return _weight_of(epoch, self.weights, peer_weight)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The first part (B,)."""
        return shifted_cross_entropy(logits, target, reduction="none")

    def pairs_in(self, epoch: int) -> bool:
        """True where a is not 0."""
        return self.weight(epoch) != 0

    def of_pairs(self, logits: Tensor, target: Tensor, epoch: int) -> Tensor:
        """The second part (M,)."""
        return -self.weight(epoch) * shifted_cross_entropy(logits, target, reduction="none")


class CORES2(Criterion):
    """``CE - b sum_c prior_c (-log(p_c + 1e-8))`` on samples whose loss is not above average (Cheng et al., 2021).

    Kept are all samples before epoch `first_sieved`, then those of a batch with ``CE(z, y) <= mean_c(-log(p_c + 1e-8))``
    (`noisylab.losses.cores2_keeps`). The prior is the share of the given labels among the samples that the epoch before kept.
    The loss may be negative; see `noisylab.losses.cores2`.

    Args:
        weights: b of each epoch, counted from 0, 0 or more; the last one stays. `noisylab.losses.cores2_weight` if None.
        first_sieved: first epoch, counted from 0, in which samples are left out, 0 or more.
    """

    uses_prior = True
    selection = "sieve"

    def __init__(self, weights: list[float] | None = None, first_sieved: int = 31) -> None:
        if not isinstance(first_sieved, int) or first_sieved < 0:
            raise ValueError(f"first_sieved must be an epoch, 0 or more, got {first_sieved}")
        self.weights, self.first_sieved = _weights(weights), first_sieved

    def weight(self, epoch: int) -> float:
        """The weight b."""
        return _weight_of(epoch, self.weights, cores2_weight)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy (B,)."""
        return -of_given(log_probs_of(logits), target)

    def of_prior(self, logits: Tensor, prior: Tensor, epoch: int) -> Tensor:
        """The second part (B,)."""
        return self.weight(epoch) * cores2_regularizer(logits, prior, reduction="none")

    def sieves_in(self, epoch: int) -> bool:
        """True from epoch `first_sieved` on."""
        return epoch >= self.first_sieved

    def keeps(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B,) bool; see `noisylab.losses.cores2_keeps`."""
        return cores2_keeps(logits, target)


class FDivergence(Criterion):
    """``-E g(p_1) + E f*(g(p_2))``, p_2 of inputs and labels drawn independently (Wei and Liu, ICLR 2021).

    It may be negative, but is bounded. It is meant to follow a warm-up with cross-entropy, of 2 epochs in the benchmark of
    KlemenVovk/noisy-labels. See `noisylab.losses.f_divergence`.

    Args:
        divergence: "total_variation", "kl", "jensen_shannon" or "pearson".
    """

    def __init__(self, divergence: Divergence = "total_variation") -> None:
        self.divergence = _one_of("divergence", divergence, get_args(Divergence))

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The first part (B,)."""
        return joint_term(logits, target, divergence=self.divergence, reduction="none")

    def pairs_in(self, epoch: int) -> bool:
        """Always true."""
        return True

    def of_pairs(self, logits: Tensor, target: Tensor, epoch: int) -> Tensor:
        """The second part (M,)."""
        return independent_term(logits, target, divergence=self.divergence, reduction="none")


def _one_of(name: str, value: _Name, allowed: Sequence[str]) -> _Name:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def _exponent(q: float) -> float:
    if not 0 < q <= 1:
        raise ValueError(f"q must be in (0, 1], got {q}")
    return q


def _not_negative(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of 0 or more, got {value}")
    return value


def _two_weights(alpha: float, beta: float) -> tuple[float, float]:
    if _not_negative("alpha", alpha) + _not_negative("beta", beta) == 0:
        raise ValueError("alpha and beta are both 0, which leaves no loss; make one of them positive")
    return alpha, beta


def _weights(given: Sequence[float] | None) -> list[float] | None:
    if given is None:
        return None
    if not given:
        raise ValueError("weights must name at least one epoch's weight, got an empty list; leave it out for the default")
    return [_not_negative("weights", value) for value in given]


def _weight_of(epoch: int, weights: Sequence[float] | None, table: Callable[[int], float]) -> float:
    """The weight of an epoch, out of a list whose last value stays or else out of the table."""
    return table(epoch) if weights is None else weights[min(epoch, len(weights) - 1)]
