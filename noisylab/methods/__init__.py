"""Methods: one LightningModule each."""

from noisylab.methods.act import ACT
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.coteaching import CoTeaching
from noisylab.methods.coteachingplus import CoTeachingPlus
from noisylab.methods.crossentropy import CrossEntropy
from noisylab.methods.dividemix import DivideMix
from noisylab.methods.elr import ELR
from noisylab.methods.elrplus import ELRPlus
from noisylab.methods.jocor import JoCoR

__all__ = ["ACT", "ELR", "CoTeaching", "CoTeachingPlus", "CrossEntropy", "DivideMix", "ELRPlus", "JoCoR", "NoisyLabelMethod"]
