"""The parent of noise that depends on the sample, not on its class alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from noisylab.noise.base import Noise, NoisyTargets
from noisylab.types import Inputs

__all__ = ["RowNoise"]


class RowNoise(Noise):
    """A rule that looks at the rows: a child draws the labels itself, and their transition matrix is the realized one."""

    looks_at_rows = True

    def transition_matrix(self, num_classes: int, class_names: Sequence[str] | None = None) -> Tensor:
        """Not known before labels are drawn.

        Raises:
            ValueError: always.
        """
        raise ValueError("the noise depends on the samples, not on the classes alone; the drawn labels have a transition matrix")

    @abstractmethod
    def __call__(
        self, targets: Tensor, num_classes: int, inputs: Inputs | None = None, class_names: Sequence[str] | None = None
    ) -> NoisyTargets:
        """Draw the given labels of a whole training set; see `Noise`."""
