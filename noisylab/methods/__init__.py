"""Methods: one LightningModule each."""

from noisylab.methods.act import ACT
from noisylab.methods.backward import Backward
from noisylab.methods.base import NoisyLabelMethod
from noisylab.methods.coteaching import CoTeaching
from noisylab.methods.coteachingplus import CoTeachingPlus
from noisylab.methods.crossentropy import CrossEntropy
from noisylab.methods.dividemix import DivideMix
from noisylab.methods.dmi import DMI
from noisylab.methods.elr import ELR
from noisylab.methods.elrplus import ELRPlus
from noisylab.methods.forward import Forward
from noisylab.methods.jocor import JoCoR
from noisylab.methods.jointoptimization import JointOptimization
from noisylab.methods.robustloss import RobustLoss
from noisylab.methods.trevision import TRevision
from noisylab.methods.volminnet import VolMinNet

__all__ = [
    "ACT",
    "DMI",
    "ELR",
    "Backward",
    "CoTeaching",
    "CoTeachingPlus",
    "CrossEntropy",
    "DivideMix",
    "ELRPlus",
    "Forward",
    "JoCoR",
    "JointOptimization",
    "NoisyLabelMethod",
    "RobustLoss",
    "TRevision",
    "VolMinNet",
]
