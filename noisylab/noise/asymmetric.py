"""Asymmetric noise: some classes are mistaken for one other class each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from noisylab.noise.base import Noise, NoisyTargets, Sampler, check_num_classes, check_targets
from noisylab.types import Inputs

__all__ = ["Asymmetric"]

_FIVE = 5  # classes of a group of "next_of_five"

_NAMED: Mapping[str, tuple[int, Mapping[int, int]]] = {
    "cifar10": (10, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
    "cifar10_dmi": (10, {9: 1, 2: 0, 4: 7, 3: 5}),
    "mnist": (10, {7: 1, 2: 7, 3: 8, 5: 6, 6: 5}),
    "ravdess6": (6, {1: 3, 3: 1, 2: 4, 4: 2}),
}


class Asymmetric(Noise):
    """Class i becomes class `mapping[i]` with probability `rate`; classes outside the mapping stay clean.

    The own class cannot be drawn as the noisy one. The share of wrong labels is `rate` times the share of samples in
    mapped classes, half of `rate` for the balanced "cifar10".

    Args:
        rate: probability of the mapped class, a fraction in [0, 1).
        mapping: a name, or the mapping itself by class numbers or by class names. Names: "cifar10" truck to
            automobile, bird to airplane, deer to horse, cat and dog to each other (9 to 1, 2 to 0, 4 to 7, 3 and 5;
            DivideMix, IEG, Joint Optimization, JoCoR, ELR); "cifar10_dmi" the same with cat to dog only (DMI); "mnist" 7 to 1,
            2 to 7, 3 to 8, 5 and 6 to each other (JoCoR); "next_of_five" class i to the next of its five, of 0 to 4, 5 to 9
            and so on, 4 to 0 and 9 to 5 (ELR, ELR+ and JoCoR on CIFAR-100, whose superclasses are other fives); "ravdess6"
            six emotions, 1 and 3 to each other, 2 and 4 likewise; "next" class i to (i + 1) mod C.
        sampler: see `Noise`.
        seed: seed of the draws.
        exact: draw exactly `round(rate * N)` rows, whatever their class, without replacement; those of mapped classes get
            the mapped one (DivideMix does so). Otherwise each row is drawn independently. Needs the vectorized sampler.
        in_place: one class after the other, in ascending order, gives exactly its share of the rows that have its label by
            then, rounded up, so that a label that was already changed can be changed again (ELR on CIFAR-10). With "cifar10"
            some cats become dogs and then cats again: at a rate of 0.4 of the cats 24 % are wrong, of the dogs 40 %, of all
            rows 18.4 %. Needs the vectorized sampler.

    Raises:
        ValueError: an argument lies outside its range, the name is unknown, or `exact`, `in_place` and the legacy sampler
            are combined; later, when the classes are known: the mapping does not fit them.

    Example:
        >>> import torch
        >>> noise = Asymmetric(0.3, mapping={"cat": "dog"})
        >>> noise.transition_matrix(3, class_names=["bird", "cat", "dog"])[1].tolist()
        [0.0, 0.7, 0.3]
    """

    kind = "asymmetric"

    def __init__(
        self,
        rate: float,
        mapping: str | dict[int, int] | dict[str, str] = "cifar10",
        sampler: Sampler = "vectorized",
        seed: int = 0,
        exact: bool = False,
        in_place: bool = False,
    ) -> None:
        super().__init__(rate, sampler, seed)
        for name, value in (("exact", exact), ("in_place", in_place)):
            if value and sampler == "legacy":
                raise ValueError(f"{name}=True needs sampler='vectorized', got 'legacy', which draws row by row; change one")
        if exact and in_place:
            raise ValueError("exact counts over all classes, in_place within each; choose one of exact=True and in_place=True")
        names = [*_NAMED, "next", "next_of_five"]
        if isinstance(mapping, str) and mapping not in names:
            raise ValueError(f"mapping must be a dict or one of {names}, got {mapping!r}; nearest: {_nearest(mapping, names)!r}")
        self.rate: float = rate
        self.mapping = mapping
        self.exact, self.in_place = exact, in_place

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """(C, C) float64: `1 - rate` and `rate` in the rows of mapped classes, one on the diagonal elsewhere.

        With `in_place` the product of one such matrix for each mapped class, in ascending order.
        """
        check_num_classes(num_classes)
        numbers = self._numbers(num_classes, class_names)
        steps = [{clean: numbers[clean]} for clean in sorted(numbers)] if self.in_place else [numbers]
        whole = torch.eye(num_classes, dtype=torch.float64)
        for step in steps:
            matrix = torch.eye(num_classes, dtype=torch.float64)
            for clean, given in step.items():
                matrix[clean, clean] = 1.0 - self.rate
                matrix[clean, given] += self.rate
            whole = whole @ matrix if self.in_place else matrix
        return whole

    def __call__(
        self, targets: Tensor, num_classes: int, inputs: Inputs | None = None, class_names: Sequence[str] | None = None
    ) -> NoisyTargets:
        """See `Noise`."""
        if not (self.exact or self.in_place):
            return super().__call__(targets, num_classes, inputs, class_names)
        clean = check_targets(targets, num_classes)
        numbers = self._numbers(num_classes, class_names)
        given = self._by_class(clean, numbers) if self.in_place else self._exactly(clean, numbers)
        return self._noisy(given, clean, self.transition_matrix(num_classes, class_names), self.rate)

    def _exactly(self, clean: Tensor, numbers: Mapping[int, int]) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(self.seed)
        rows = torch.randperm(len(clean), generator=generator)[: round(self.rate * len(clean))]
        given = clean.clone()
        for own, other in numbers.items():
            given[rows[clean[rows] == own]] = other
        return given

    def _by_class(self, clean: Tensor, numbers: Mapping[int, int]) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(self.seed)
        given = clean.clone()
        for own in sorted(numbers):
            rows = (given == own).nonzero().flatten()
            order = torch.randperm(len(rows), generator=generator)
            given[rows[order[: math.ceil(self.rate * len(rows) - 1e-9)]]] = numbers[own]
        return given

    def _numbers(self, num_classes: int, class_names: Sequence[str] | None) -> Mapping[int, int]:
        if isinstance(self.mapping, dict):
            number = {name: _class_number(name, num_classes, class_names) for pair in self.mapping.items() for name in pair}
            return {number[clean]: number[given] for clean, given in self.mapping.items()}
        if self.mapping == "next":
            return {clean: (clean + 1) % num_classes for clean in range(num_classes)}
        if self.mapping == "next_of_five":
            if num_classes % _FIVE:
                raise ValueError(
                    f"mapping='next_of_five' needs groups of five classes, got num_classes={num_classes}; use 'next'"
                )
            return {clean: clean - clean % _FIVE + (clean + 1) % _FIVE for clean in range(num_classes)}
        expected, numbers = _NAMED[self.mapping]
        if num_classes != expected:
            raise ValueError(
                f"mapping={self.mapping!r} is made for {expected} classes, got num_classes={num_classes}; "
                "use mapping='next' or give a dict of class numbers"
            )
        return numbers


def _class_number(name: int | str, num_classes: int, class_names: Sequence[str] | None) -> int:
    if isinstance(name, int):
        if not 0 <= name < num_classes:
            nearest = min(max(name, 0), num_classes - 1)
            shown = f"{nearest} ({class_names[nearest]!r})" if class_names is not None else f"{nearest}"
            raise ValueError(f"mapping names class {name}, allowed are 0..{num_classes - 1}; nearest: {shown}")
        return name
    if class_names is None:
        raise ValueError(f"mapping names class {name!r}, but no class_names are known; use class numbers instead")
    if name not in class_names:
        raise ValueError(
            f"mapping names class {name!r}, which is not among the {len(class_names)} class names; "
            f"nearest: {_nearest(name, class_names)!r}"
        )
    return list(class_names).index(name)


def _nearest(name: str, names: Sequence[str]) -> str:
    return max(names, key=lambda known: difflib.SequenceMatcher(None, name.lower(), known.lower()).ratio())
