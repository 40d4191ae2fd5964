"""Asymmetric noise: some classes are mistaken for one other class each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from noisylab.noise.base import Noise, Sampler, check_num_classes

__all__ = ["Asymmetric"]

_NAMED: Mapping[str, tuple[int, Mapping[int, int]]] = {
    "cifar10": (10, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
    "cifar10_dmi": (10, {9: 1, 2: 0, 4: 7, 3: 5}),
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
            DivideMix, IEG, Joint Optimization); "cifar10_dmi" the same with cat to dog only (DMI); "ravdess6" six
            emotions, 1 and 3 to each other, 2 and 4 likewise; "next" class i to (i + 1) mod C.
        sampler: see `Noise`.
        seed: seed of the draws.

    Raises:
        ValueError: an argument lies outside its range or the name is unknown; later, when the classes are known: the
            mapping does not fit them.

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
        sampler: Sampler = "vectorised",
        seed: int = 0,
    ) -> None:
        super().__init__(rate, sampler, seed)
        names = [*_NAMED, "next"]
        if isinstance(mapping, str) and mapping not in names:
            raise ValueError(f"mapping must be a dict or one of {names}, got {mapping!r}; nearest: {_nearest(mapping, names)!r}")
        self.rate: float = rate
        self.mapping = mapping

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """(C, C) float64: `1 - rate` and `rate` in the rows of mapped classes, one on the diagonal elsewhere."""
        check_num_classes(num_classes)
        matrix = torch.eye(num_classes, dtype=torch.float64)
        for clean, given in self._numbers(num_classes, class_names).items():
            matrix[clean, clean] = 1.0 - self.rate
            matrix[clean, given] += self.rate
        return matrix

    def _numbers(self, num_classes: int, class_names: Sequence[str] | None) -> Mapping[int, int]:
        if isinstance(self.mapping, dict):
            number = {name: _class_number(name, num_classes, class_names) for pair in self.mapping.items() for name in pair}
            return {number[clean]: number[given] for clean, given in self.mapping.items()}
        if self.mapping == "next":
            return {clean: (clean + 1) % num_classes for clean in range(num_classes)}
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
            f"mapping names class {name!r}, which is none of the {len(class_names)} class names; "
            f"nearest: {_nearest(name, class_names)!r}"
        )
    return list(class_names).index(name)


def _nearest(name: str, names: Sequence[str]) -> str:
    return max(names, key=lambda known: difflib.SequenceMatcher(None, name.lower(), known.lower()).ratio())
