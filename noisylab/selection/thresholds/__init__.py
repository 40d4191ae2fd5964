"""Threshold policies: which unlabeled rows to trust, and how much; shared by all methods that learn from such rows."""

from noisylab.selection.thresholds.adamatch import AdaMatchThreshold
from noisylab.selection.thresholds.alignment import align
from noisylab.selection.thresholds.combined import AllOf, StagedThreshold
from noisylab.selection.thresholds.dash import DashThreshold
from noisylab.selection.thresholds.fixed import FixedThreshold, LinearThreshold, NoThreshold
from noisylab.selection.thresholds.flexmatch import FlexMatchThreshold
from noisylab.selection.thresholds.freematch import FreeMatchThreshold
from noisylab.selection.thresholds.labeled import LabeledThreshold
from noisylab.selection.thresholds.percentile import PercentileThreshold
from noisylab.selection.thresholds.policy import Guesses, PolicyFactory, ThresholdPolicy, Weighted
from noisylab.selection.thresholds.sed import SCRThreshold, SCSThreshold
from noisylab.selection.thresholds.softmatch import SoftMatchThreshold

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
]
