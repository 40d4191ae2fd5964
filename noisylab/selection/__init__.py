"""Rules that take samples as clean."""

from noisylab.selection.agreement import asymmetric_agreement
from noisylab.selection.balanced import balanced_subset
from noisylab.selection.disagreement import small_loss_among
from noisylab.selection.mixture import Mixture, fit_mixture, normalise
from noisylab.selection.small_loss import keep_count, small_loss

__all__ = [
    "Mixture",
    "asymmetric_agreement",
    "balanced_subset",
    "fit_mixture",
    "keep_count",
    "normalise",
    "small_loss",
    "small_loss_among",
]
