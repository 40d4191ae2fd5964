"""Methods: each is one LightningModule."""

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
from noisylab.methods.fixmatch import FixMatch
from noisylab.methods.forward import Forward
from noisylab.methods.ieg import IEG
from noisylab.methods.iegdividemix import IEGDivideMix
from noisylab.methods.jocor import JoCoR
from noisylab.methods.jointoptimization import JointOptimization
from noisylab.methods.l2r import L2R
from noisylab.methods.linearprobe import LinearProbe
from noisylab.methods.meanteacher import MeanTeacher
from noisylab.methods.mixmatch import MixMatch
from noisylab.methods.pimodel import PiModel
from noisylab.methods.robustloss import RobustLoss
from noisylab.methods.rotnet import RotNet
from noisylab.methods.simclr import SimCLR
from noisylab.methods.trevision import TRevision
from noisylab.methods.volminnet import VolMinNet

__all__ = [
    "ACT",
    "DMI",
    "ELR",
    "IEG",
    "L2R",
    "Backward",
    "CoTeaching",
    "CoTeachingPlus",
    "CrossEntropy",
    "DivideMix",
    "ELRPlus",
    "FixMatch",
    "Forward",
    "IEGDivideMix",
    "JoCoR",
    "JointOptimization",
    "LinearProbe",
    "MeanTeacher",
    "MixMatch",
    "NoisyLabelMethod",
    "PiModel",
    "RobustLoss",
    "RotNet",
    "SimCLR",
    "TRevision",
    "VolMinNet",
]
