"""The noisy CIFAR sets of ACT: closed-set noise, and classes outside the label set given labels inside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from noisylab.noise.base import Noise, Sampler, check_fraction, check_num_classes
from noisylab.noise.pairflip import PairFlip
from noisylab.noise.symmetric import Symmetric

__all__ = ["OpenSet"]


class OpenSet(Noise):
    """Open-set noise: the last classes of the source are unknown to the model and get labels of the known ones.

    Of C source classes the first K = round(C (1 - open_ratio)) are known. Samples of known classes get symmetric or
    pair-flip noise of the given rate among the K, in which the own class cannot be drawn as the noisy one; samples of
    the other C - K classes get a label drawn uniformly from the K. All samples stay in the training set and true
    labels stay in 0..C-1, so `clean_target >= K` marks the open set. With balanced classes the share of wrong labels is
    `open_ratio + (1 - open_ratio) * rate`. `open_ratio=0` gives the closed set.

    The defaults on CIFAR-100 give the labels of CIFAR80N as published with ACT (Sheng et al., "Enhancing Robustness in
    Learning with Noisy Labels: An Asymmetric Co-Training Approach", ACM MM 2024), and `open_ratio=0` those of its
    CIFAR100N, which has nothing to do with the human labels of the same name. The authors always draw with seed 0.

    **Differences** from the authors' code (shtdusb/ACT, data/noisy_cifar.py): K is rounded where they truncate, as
    10 classes with `open_ratio=0.8` would otherwise leave 1 class by floating point.

    Args:
        rate: noise among the known classes, a fraction in [0, 1).
        open_ratio: fraction of the source classes that are unknown, in [0, 1).
        closed: "symmetric", or "asymmetric" for i to (i + 1) mod K.
        sampler: see `Noise`.
        seed: seed of the draws.

    Raises:
        ValueError: an argument lies outside its range; later, when the classes are known: fewer than 2 are left.

    Example:
        >>> import torch
        >>> noise = OpenSet(0.2)
        >>> noisy = noise(torch.tensor([0, 1, 78, 79, 80, 99, 50, 3]), num_classes=100)
        >>> noise.num_classes(100), noisy.given_target.tolist()
        (80, [0, 1, 78, 67, 60, 59, 50, 3])
    """

    kind = "openset"

    def __init__(
        self,
        rate: float,
        open_ratio: float = 0.2,
        closed: Literal["symmetric", "asymmetric"] = "symmetric",
        sampler: Sampler = "legacy",
        seed: int = 0,
    ) -> None:
        super().__init__(rate, sampler, seed)
        check_fraction("open_ratio", open_ratio)
        if closed not in ("symmetric", "asymmetric"):
            raise ValueError(f"closed must be 'symmetric' or 'asymmetric', got {closed!r}")
        self.rate: float = rate
        self.open_ratio = open_ratio
        self.closed = closed

    def num_classes(self, source_classes: int) -> int:
        """K = round(C (1 - open_ratio)), the known classes.

        Raises:
            ValueError: fewer than two classes are left.
        """
        check_num_classes(source_classes)
        known = round(source_classes * (1 - self.open_ratio))
        if known < 2:
            raise ValueError(
                f"open_ratio={self.open_ratio} leaves {known} of {source_classes} classes, at least 2 are needed; "
                f"use at most {1 - 2 / source_classes:.4g}"
            )
        return known

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """(C, C) float64; columns of unknown classes are zero, rows of unknown classes uniform over the known."""
        known = self.num_classes(num_classes)
        closed = Symmetric(self.rate) if self.closed == "symmetric" else PairFlip(self.rate)
        matrix = torch.zeros(num_classes, num_classes, dtype=torch.float64)
        matrix[:known, :known] = closed.transition_matrix(known)
        matrix[known:, :known] = 1.0 / known
        return matrix
