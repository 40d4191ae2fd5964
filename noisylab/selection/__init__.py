"""Rules that take samples as clean."""

from noisylab.selection.agreement import asymmetric_agreement

__all__ = ["asymmetric_agreement"]
