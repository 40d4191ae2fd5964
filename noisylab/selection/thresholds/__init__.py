"""Threshold policies: which unlabeled rows to trust, and how much; one module for all methods that learn from such rows."""

from noisylab.selection.thresholds.combined import AllOf, StagedThreshold
from noisylab.selection.thresholds.fixed import FixedThreshold, LinearThreshold, NoThreshold
from noisylab.selection.thresholds.policy import Guesses, PolicyFactory, ThresholdPolicy, Weighted

__all__ = [
    "AllOf",
    "FixedThreshold",
    "Guesses",
    "LinearThreshold",
    "NoThreshold",
    "PolicyFactory",
    "StagedThreshold",
    "ThresholdPolicy",
    "Weighted",
]
