"""What every kind of label noise shares: arguments, checks, the two samplers and the result."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from noisylab.crowd.consensus import Consensus
from noisylab.types import Inputs

__all__ = ["Noise", "NoisyTargets", "Sampler", "check_fraction", "check_num_classes", "check_targets", "realized_matrix"]

Sampler: TypeAlias = Literal["vectorized", "legacy"]
"""How labels are drawn from a transition matrix; see `Noise`."""

_SHOWN = 5  # classes in a message
_CHUNK = 65_536  # rows whose cumulative probabilities are held at once: 52 MB for 100 classes


@dataclass(frozen=True)
class NoisyTargets:
    """The noisy labels of a whole training set, and where the noise came from. All tensors are on the CPU.

    Args:
        given_target: (N,) int64, the labels to train on, each below the number of classes the model sees; -1 for unlabeled rows.
        clean_target: (N,) int64, the true labels, in 0..C-1 for C source classes; -1 where unknown, in unlabeled rows.
        transition_matrix: (C, C) float64, rows clean, columns given; each row sums to one. `None` when not known.
        rate: the noise kind's parameter, a fraction in [0, 1); `None` when not known.
        measured_rate: fraction of labeled rows whose given label differs from the true one, in [0, 1]; 0 without such rows.
        soft_target: (N, K) float32, a distribution over the classes for each row, of which `given_target` is the largest, for
            methods that learn from one; 0 in rows without a label. `None` where labels are classes.
        crowd: who gave the labels and how well, where several annotators did.
    """

    given_target: Tensor
    clean_target: Tensor
    transition_matrix: Tensor | None
    rate: float | None
    measured_rate: float
    soft_target: Tensor | None = None
    crowd: Consensus | None = None


class Noise(ABC):
    """A rule that turns true labels into given labels, drawn once for all rows from its own seed.

    A child states `kind` and `transition_matrix`; `__call__` draws row i from row `targets[i]` of that matrix.
    Global random state is neither read nor changed.

    Args:
        rate: the kind's parameter, a fraction in [0, 1); `None` for kinds without one.
        sampler: "vectorized" draws one uniform number a row from a torch generator and inverts the cumulative row;
            "legacy" makes one multinomial draw a row, in order, from numpy's `RandomState(seed)`, as the code of T-Revision
            and ACT does (L_DMI's draws by `np.random.choice`: other labels); with any numpy it draws as those before 2.5 did.
            The two give different labels of the same distribution.
        seed: seed of the draws, at least 0.

    Attributes:
        kind: the kind's name.
        of_rows: whether the labels were given to the rows, unlabeled ones among them, and are not drawn.
        looks_at_rows: whether a label depends on the values of its row.

    Raises:
        ValueError: an argument lies outside its range.
    """

    kind: ClassVar[str]
    of_rows: ClassVar[bool] = False
    looks_at_rows: ClassVar[bool] = False

    def __init__(self, rate: float | None = None, sampler: Sampler = "vectorized", seed: int = 0) -> None:
        if rate is not None:
            check_fraction("rate", rate)
        if sampler not in ("vectorized", "legacy"):
            raise ValueError(f"sampler must be 'vectorized' or 'legacy', got {sampler!r}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be in 0..2**32-1, got {seed}; choose another whole number")
        self.rate = rate
        self.sampler = sampler
        self.seed = seed

    def num_classes(self, source_classes: int) -> int:
        """Number of classes the model sees, given the number in the source data set."""
        return source_classes

    @property
    def generator(self) -> str:
        """What made the labels, for noise files; the kind, unless a kind has several generators."""
        return self.kind

    def own_inputs(self, count: int) -> Tensor | None:
        """Values that the noise looks at in place of the data's inputs: (count, ...), from a file of its own, or `None`."""
        return None

    def account(self, noisy: NoisyTargets, class_names: Sequence[str]) -> list[str]:
        """What a user is told of the labels before training, a sentence each; nothing, unless a kind says more than its rate.

        Args:
            noisy: the labels.
            class_names: names of the classes.
        """
        if not self.looks_at_rows or noisy.transition_matrix is None:
            return []
        return realized_lines(noisy.transition_matrix, noisy.measured_rate, class_names)

    def warnings(self, noisy: NoisyTargets) -> list[str]:
        """What looked wrong when the labels were read, a sentence each."""
        return []

    @abstractmethod
    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """P(given = j | clean = i).

        Args:
            num_classes: C, number of source classes, at least 2.
            class_names: C names, needed only by kinds that were configured with class names.

        Returns:
            (C, C) float64 on the CPU, rows clean, columns given; each row sums to one.

        Raises:
            ValueError: there are too few classes, or the kind does not fit them.
        """

    def __call__(
        self, targets: Tensor, num_classes: int, inputs: Inputs | None = None, class_names: Sequence[str] | None = None
    ) -> NoisyTargets:
        """Draw the given labels of a whole training set.

        Args:
            targets: (N,) integer, the true labels in 0..C-1, any device; not changed and not kept.
            num_classes: C, number of source classes, at least 2.
            inputs: (N, ...), for kinds that depend on the sample; unused by kinds that depend on the class alone.
            class_names: C names, needed only by kinds that were configured with class names.

        Returns:
            The given labels with the true ones, the matrix and the measured rate.

        Raises:
            ValueError: a label is out of range, or `num_classes` does not suit the kind.
            TypeError: the labels are not whole numbers.
        """
        clean = check_targets(targets, num_classes)
        matrix = self.transition_matrix(num_classes, class_names)
        return self._noisy(self._draw(clean, matrix), clean, matrix, self.rate)

    def _draw(self, clean: Tensor, matrix: Tensor) -> Tensor:
        sample = _sample_legacy if self.sampler == "legacy" else _sample_vectorized
        return sample(clean, matrix, self.seed)

    def _noisy(self, given: Tensor, clean: Tensor, matrix: Tensor | None, rate: float | None) -> NoisyTargets:
        known = (given >= 0) & (clean >= 0)
        measured = float((given != clean)[known].double().mean()) if bool(known.any()) else 0.0
        return NoisyTargets(given, clean, matrix, rate, measured)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in inspect.signature(type(self)).parameters)
        return f"{type(self).__name__}({arguments})"


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError unless 0 <= value < 1; `name` is the argument's name in the message."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be a fraction in [0, 1), got {value}; 40 percent is written 0.4")


def check_targets(targets: Tensor, num_classes: int, unknown: bool = False) -> Tensor:
    """A copy of the labels as (N,) int64 on the CPU.

    Args:
        targets: (N,) integer labels, any device; not changed.
        num_classes: C, number of classes, at least 2.
        unknown: whether -1 may stand for a row without a label.

    Raises:
        ValueError: `num_classes` is below 2, the labels are not one row of numbers, or one lies outside 0..C-1.
        TypeError: the labels are not whole numbers.
    """
    check_num_classes(num_classes)
    if targets.dtype == torch.bool or targets.is_floating_point() or targets.is_complex():
        raise TypeError(f"targets must hold whole numbers, got {targets.dtype}; convert them with .long()")
    if targets.ndim != 1:
        raise ValueError(f"targets must have shape (N,), got {tuple(targets.shape)}; pass one label per sample")
    clean = targets.detach().to("cpu", torch.int64, copy=True)
    outside = ((clean < (-1 if unknown else 0)) | (clean >= num_classes)).nonzero().flatten()
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"targets must be in 0..{num_classes - 1}, got {int(clean[row])} at row {row} "
            f"({len(outside)} of {len(clean)} rows are outside); check num_classes={num_classes} or renumber the labels"
        )
    return clean


def check_num_classes(num_classes: int) -> None:
    """Raise ValueError unless there are at least two classes."""
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}; one class has no wrong label")


def realized_matrix(clean: Tensor, given: Tensor, num_classes: int) -> Tensor:
    """(C, C) float64: the share of each given class among the labels of each true one; the identity for classes without a row.

    Args:
        clean: (N,) int64 true labels in 0..C-1.
        given: (N,) int64 given labels in 0..C-1.
        num_classes: C.
    """
    counts = torch.bincount(clean * num_classes + given, minlength=num_classes**2).reshape(num_classes, num_classes).double()
    total = counts.sum(1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1), torch.eye(num_classes, dtype=torch.float64))


def realized_lines(matrix: Tensor, measured_rate: float, class_names: Sequence[str]) -> list[str]:
    """What a realized transition matrix is like: how close it is to a fixed mistake for each class.

    Args:
        matrix: (C, C).
        measured_rate: share of wrong labels.
        class_names: C names.
    """
    off = matrix.clone().fill_diagonal_(0)
    largest, place = off.max(1)
    worst = int(largest.argmax())
    wrong = off.sum(1)
    share = float((largest / wrong.clamp(min=1e-12))[wrong > 0].mean()) if bool((wrong > 0).any()) else 0.0
    lines = [
        f"drawn noise: {measured_rate:.1%} of the labels are wrong; on average {share:.0%} of a class's wrong labels name one "
        f"other class, most of all {class_names[worst]} -> {class_names[int(place[worst])]}, {largest[worst]:.1%} of its rows"
    ]
    lost = [class_names[k] for k in (largest > matrix.diagonal()).nonzero().flatten().tolist()]
    if lost:
        shown = f"{', '.join(lost[:_SHOWN])}{', ...' if len(lost) > _SHOWN else ''}"
        lines.append(f"drawn noise: the most frequent label of {len(lost)} classes is not their own: {shown}")
    return lines


def _sample_vectorized(clean: Tensor, matrix: Tensor, seed: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    uniform = torch.rand(len(clean), 1, generator=generator, dtype=torch.float64)
    cumulative = matrix.cumsum(1)
    # From the last class that can be drawn on: exactly one, whatever the rounding of the sum.
    cumulative[cumulative >= cumulative[:, -1:]] = 1.0
    given = torch.empty_like(clean)
    for start in range(0, len(clean), _CHUNK):
        rows = slice(start, start + _CHUNK)
        given[rows] = torch.searchsorted(cumulative[clean[rows]], uniform[rows], right=True).flatten()
    return given


def _sample_legacy(clean: Tensor, matrix: Tensor, seed: int) -> Tensor:
    # RandomState.multinomial(1, row).argmax() of numpy before 2.5, draw for draw. From 2.5 on numpy's own consumes a number for
    # classes of probability 0, too, and no longer gives the published labels; the stream of its binomial is the same in all.
    binomial = np.random.RandomState(seed).binomial
    chances = [_chances(row) for row in matrix.tolist()]
    given = clean.tolist()
    for place, label in enumerate(given):
        for k, chance in chances[label]:
            if binomial(1, chance):
                given[place] = k
                break
        else:
            given[place] = len(chances) - 1
    return torch.tensor(given, dtype=torch.int64)


def _chances(row: list[float]) -> list[tuple[int, float]]:
    """The classes that can be drawn but the last, each with its probability given that none before it was drawn."""
    chances, left = [], 1.0
    for k, probability in enumerate(row[:-1]):
        if probability > 0:
            chances.append((k, min(probability / left, 1.0)))
            if probability >= left:  # certain; what is left for others is at most a rounding error
                break
        left -= probability
    return chances
