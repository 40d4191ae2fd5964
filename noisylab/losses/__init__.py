"""Losses: pure functions of tensors, stable in at least float32 whatever the precision of training."""

from noisylab.losses.agreement import symmetric_kl
from noisylab.losses.cross_entropy import cross_entropy, soft_cross_entropy
from noisylab.losses.elr import elr_loss, elr_regulariser, elr_target, given_share, predicts_given, reweighted_labels
from noisylab.losses.entropy import negative_entropy
from noisylab.losses.mixmatch import prior_penalty, sharpen, squared_error

__all__ = [
    "cross_entropy",
    "elr_loss",
    "elr_regulariser",
    "elr_target",
    "given_share",
    "negative_entropy",
    "predicts_given",
    "prior_penalty",
    "reweighted_labels",
    "sharpen",
    "soft_cross_entropy",
    "squared_error",
    "symmetric_kl",
]
