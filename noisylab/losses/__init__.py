"""Losses: pure functions of tensors, stable in at least float32 whatever the precision of training."""

from noisylab.losses.cross_entropy import cross_entropy, soft_cross_entropy
from noisylab.losses.entropy import negative_entropy

__all__ = ["cross_entropy", "negative_entropy", "soft_cross_entropy"]
