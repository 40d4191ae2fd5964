"""A fitted mixture together with the values it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from noisylab.selection.mixture import Mixture

__all__ = ["MixtureFit"]


@dataclass(frozen=True)
class MixtureFit:
    """A mixture of per-sample losses, kept for inspection.

    Args:
        rows: (M,) int64 rows of the original training set.
        values: (M,) float, the losses of these rows as the mixture saw them, in [0, 1].
        mixture: the mixture.
    """

    rows: Tensor
    values: Tensor
    mixture: Mixture
