"""Methods: one LightningModule each."""

from noisylab.methods.act import ACT
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.crossentropy import CrossEntropy

__all__ = ["ACT", "CrossEntropy", "NoisyLabelMethod"]
