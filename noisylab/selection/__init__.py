"""Rules that select samples as clean, and unlabeled ones as worth learning from."""

from noisylab.renamed import old_names
from noisylab.selection.agreement import asymmetric_agreement
from noisylab.selection.balanced import balanced_subset
from noisylab.selection.disagreement import small_loss_among
from noisylab.selection.meta_weights import hard_weights, mislabeled, sum_to_one
from noisylab.selection.mixture import Mixture, fit_mixture, normalize
from noisylab.selection.small_loss import keep_count, small_loss
from noisylab.selection.thresholds import (
    AdaMatchThreshold,
    AllOf,
    DashThreshold,
    FixedThreshold,
    FlexMatchThreshold,
    FreeMatchThreshold,
    Guesses,
    LabeledThreshold,
    LinearThreshold,
    NoThreshold,
    PercentileThreshold,
    PolicyFactory,
    SCRThreshold,
    SCSThreshold,
    SoftMatchThreshold,
    StagedThreshold,
    ThresholdPolicy,
    Weighted,
    align,
)

__all__ = [
    "AdaMatchThreshold",
    "AllOf",
    "DashThreshold",
    "FixedThreshold",
    "FlexMatchThreshold",
    "FreeMatchThreshold",
    "Guesses",
    "LabeledThreshold",
    "LinearThreshold",
    "Mixture",
    "NoThreshold",
    "PercentileThreshold",
    "PolicyFactory",
    "SCRThreshold",
    "SCSThreshold",
    "SoftMatchThreshold",
    "StagedThreshold",
    "ThresholdPolicy",
    "Weighted",
    "align",
    "asymmetric_agreement",
    "balanced_subset",
    "fit_mixture",
    "hard_weights",
    "keep_count",
    "mislabeled",
    "normalize",
    "small_loss",
    "small_loss_among",
    "sum_to_one",
]

__getattr__ = old_names(__name__, {"mislabelled": "mislabeled", "normalise": "normalize"})
