"""Data sets of the field by their names, read from the files that their authors published."""

from noisylab.data.named.animal10n import Animal10N
from noisylab.data.named.cifarn import CIFARN, human_labels
from noisylab.data.named.clothing1m import Clothing1M
from noisylab.data.named.food101n import Food101N
from noisylab.data.named.ravdess import RAVDESS
from noisylab.data.named.tiny_imagenet import TinyImageNet
from noisylab.data.named.webfg import WebFG
from noisylab.data.named.webvision import WebVision
from noisylab.data.named.xrmb import XRMB
from noisylab.data.release import NamedRelease, ReleaseReport

__all__ = [
    "CIFARN",
    "RAVDESS",
    "XRMB",
    "Animal10N",
    "Clothing1M",
    "Food101N",
    "NamedRelease",
    "ReleaseReport",
    "TinyImageNet",
    "WebFG",
    "WebVision",
    "human_labels",
]
