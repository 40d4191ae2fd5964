"""Label noise: symmetric, pair-flip, asymmetric, open-set, dependent on the sample, or read from a file, or of annotators."""

from noisylab.noise.annotators import FromAnnotators
from noisylab.noise.asymmetric import Asymmetric
from noisylab.noise.base import Noise, NoisyTargets
from noisylab.noise.file import FromFile, NoiseFile, digest, load_noise, save_noise
from noisylab.noise.instance import InstanceDependent
from noisylab.noise.openset import OpenSet
from noisylab.noise.pairflip import PairFlip
from noisylab.noise.pmd import PMD
from noisylab.noise.symmetric import Symmetric

__all__ = [
    "PMD",
    "Asymmetric",
    "FromAnnotators",
    "FromFile",
    "InstanceDependent",
    "Noise",
    "NoiseFile",
    "NoisyTargets",
    "OpenSet",
    "PairFlip",
    "Symmetric",
    "digest",
    "load_noise",
    "save_noise",
]
